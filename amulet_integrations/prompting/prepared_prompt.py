"""The prompts of one conversation: validated, escaped, rendered, unescaped and tokenised."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK, Reasoning
from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.tool_use import JsonOutput, Tool
from amulet_integrations.prompting.tools.turns import Turn, number_calls, turns_of

from .chat_template import PromptFormat
from .escaping import ControlTokenEscaper, PromptText, iter_strings
from .messages import (
    BLANK_LINE,
    ChatMessage,
    check_conversation,
    check_encodable,
    check_preference,
)
from .prompt_tokenizer import PromptTokenizer

_JSON_SECTION = "Answer with nothing but JSON that follows this JSON schema:\n%s"


@dataclass(frozen=True)
class PromptInputs:
    """A conversation, with everything else that the model is given besides a preference.

    Attributes:
        messages: The conversation.
        tools: The tools that the model may call.
        json_output: The JSON that the answer has to be.
        chat_template_kwargs: More arguments for the chat template.
    """

    messages: Sequence[ChatMessage]
    tools: Sequence[Tool] = ()
    json_output: JsonOutput | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None

    @property
    def mentions_tools(self) -> bool:
        """Whether there are tools, or calls and results in the conversation."""
        return bool(self.tools) or any(m.tool_calls or m.role == "tool" for m in self.messages)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that stands in the prompt, if any."""
        output = self.json_output
        return output.json_schema if output is not None and output.in_prompt else None

    def validate(self) -> None:
        """Refuses what no prompt can be made from.

        Raises:
            PromptError: The conversation is invalid, something is not JSON or cannot be encoded,
                or `chat_template_kwargs` has a reserved name.
        """
        check_conversation(self.messages)
        number_calls(self.messages)  # refuses tool messages that answer no call
        _check_template_kwargs(self.chat_template_kwargs or {})
        for text in self.strings():
            check_encodable(text, "tools, calls, schema or chat_template_kwargs")

    def strings(self) -> Iterator[str]:
        """Every string that somebody else wrote.

        Raises:
            PromptError: Something in the tools, calls, schema or template arguments is not JSON.
        """
        for message in self.messages:
            yield message.content
            yield message.reasoning or ""
            for call in message.tool_calls:
                yield call.name
                yield from iter_strings(call.arguments)
        for tool in self.tools:
            yield from iter_strings(tool.model_dump())
        yield from iter_strings(self.schema)
        yield from iter_strings(dict(self.chat_template_kwargs or {}))


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """How the prompts of one model are written.

    Attributes:
        format: The model's prompt format.
        tokenizer: The tokenizer, with the markers that the format writes.
        default_system: The system text if the caller gave none.
        separator: Stands between the system text and the preference.
        tools: How tools, calls and results are written; None for conversations without any.
    """

    format: PromptFormat
    tokenizer: PromptTokenizer
    default_system: str
    separator: str
    tools: ToolTemplate | None = None


class PreparedPrompt:
    """The prompts of one conversation, one for each preference.

    `PromptBuilder.prepare` makes it. The base context is rendered at most once, whatever is asked
    for, and all contexts are rendered in the same way.

    Args:
        inputs: The conversation, which is known to be valid.
        template: How prompts are written.
    """

    def __init__(self, inputs: PromptInputs, template: PromptTemplate) -> None:
        self._inputs = inputs
        self._template = template

    def contexts(self, preference_texts: Sequence[str | None]) -> list[list[int]]:
        """Token ids under each preference; see `PromptBuilder.contexts`."""
        # Rendered templates bring their own BOS; plain text needs the tokenizer's.
        leading = [] if self._template.format.is_chat else self._template.tokenizer.leading_ids
        texts = list(map(self._text, preference_texts))
        contexts = [leading + self._template.tokenizer.encode(text) for text in texts]
        self._check_difference(contexts, preference_texts)
        return contexts

    def _check_difference(
        self, contexts: Sequence[list[int]], preference_texts: Sequence[str | None]
    ) -> None:
        """Refuses a preference that leaves no trace in the prompt, so that no answer follows it."""
        bases = [ids for ids, text in zip(contexts, preference_texts, strict=True) if text is None]
        if sum(ids in bases for ids in contexts) > len(bases):
            raise PromptError(
                "The prompt with the preference is the same as the one without, so no answer could "
                "follow it: the model's chat template leaves the preference out. Pass a "
                "chat_template that writes the whole system text, or another preference."
            )

    def render(self, preference_text: str | None = None) -> str:
        """The prompt as text; see `PromptBuilder.render`."""
        return self._text(preference_text).text

    @cached_property
    def reasoning(self) -> Reasoning:
        """Whether the answer begins with thoughts.

        "already open" if the template itself ends the prompt with `<think>`; "may open" if the
        model thinks when it wants to; "none" if it does not think, or if the template ends the
        prompt with thoughts that are over.

        Raises:
            PromptError: The model's chat template refuses the conversation.
        """
        if not self._template.format.thinks:
            return "none"
        last = self._inputs.messages[-1]
        if last.role == "assistant" and last.content.strip():
            # The answer continues these thoughts, or else a text that comes after all thoughts.
            in_thoughts = last.content.lstrip().startswith(THINK)
            is_open = in_thoughts and END_OF_THOUGHTS not in last.content
            return "already open" if is_open else "none"
        if self._base.ends_with(THINK):
            return "already open"
        return "none" if self._base.ends_with(END_OF_THOUGHTS) else "may open"

    @cached_property
    def _base(self) -> PromptText:
        return self._render(None)

    def _text(self, preference: str | None) -> PromptText:
        check_preference(preference)
        return self._base if preference is None else self._render(preference)

    def _render(self, preference: str | None) -> PromptText:
        """Escapes what people wrote, renders it, and undoes the escaping."""
        inputs, template = self._inputs, self._template
        own = (template.default_system, template.separator, preference or "")
        escaper = template.tokenizer.escaper(chain(own, inputs.strings()))
        turns = [
            _escape_turn(template.format.split_reasoning(turn), escaper)
            for turn in turns_of(_without_empty_end(inputs.messages))
        ]
        sections = []
        template_tools: list[dict[str, Any]] = []
        if template.tools is not None:
            tools = [
                {"type": "function", "function": escaper.escape_values(tool.model_dump())}
                for tool in inputs.tools
            ]
            section, template_tools = template.tools.describe_tools(tools)
            sections.append(section)
            turns = template.tools.arrange_turns(turns)
        if inputs.schema is not None:
            schema = escaper.escape_json(inputs.schema)
            written = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
            sections.append(_JSON_SECTION % written)
        given = [m.content for m in inputs.messages if m.role == "system" and m.content.strip()]
        system = BLANK_LINE.join(
            [*map(escaper.escape, given or [template.default_system]), *filter(None, sections)]
        )
        if preference is not None:
            system += escaper.escape(template.separator + preference)
        # System messages are gathered at the front, also those that come last.
        continues = inputs.messages[-1].role == "assistant"
        rendered = template.format.render(
            template.format.layout(system, turns, continues=continues),
            template_tools,
            escaper.escape_values(inputs.chat_template_kwargs or {}),
            continues=continues,
        )
        return escaper.unescape(rendered)


def _without_empty_end(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The messages without blank ones of the assistant at the end: they have yet to be written."""
    end = len(messages)
    while end and _is_empty_answer(messages[end - 1]):
        end -= 1
    return messages[:end]


def _is_empty_answer(message: ChatMessage) -> bool:
    is_blank = not (message.content.strip() or message.reasoning or message.tool_calls)
    return message.role == "assistant" and is_blank


def _escape_turn(turn: Turn, escaper: ControlTokenEscaper) -> Turn:
    """A turn with everything escaped that people or the model wrote."""
    # Templates may write the results of tools as JSON.
    escape = escaper.escape_json if turn["role"] == "tool" else escaper.escape
    escaped = {**turn, "content": escape(turn["content"])}
    if "reasoning_content" in turn:
        escaped["reasoning_content"] = escaper.escape(turn["reasoning_content"])
    if "name" in turn:
        escaped["name"] = escaper.escape_json(turn["name"])
    if "tool_calls" in turn:
        escaped["tool_calls"] = [
            {**call, "function": escaper.escape_values(call["function"])}
            for call in turn["tool_calls"]
        ]
    return escaped


def _check_template_kwargs(kwargs: Mapping[str, Any]) -> None:
    if odd := [name for name in kwargs if not isinstance(name, str)]:
        raise PromptError(
            f"chat_template_kwargs has the name {odd[0]!r}, but names of variables are strings."
        )
    taken = [name for name in kwargs if name in _reserved_names() or name.endswith("_token")]
    if taken:
        raise PromptError(
            f"chat_template_kwargs has {', '.join(map(repr, taken))}, which the prompt builder "
            "sets itself. Pass only what the chat template reads besides the messages and tools, "
            "such as enable_thinking."
        )


@cache
def _reserved_names() -> frozenset[str]:
    """What the prompt builder, or the tokenizer, passes to the template itself."""
    from transformers import PreTrainedTokenizerBase  # noqa: PLC0415 - importing it takes long

    parameters = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    return frozenset({"messages", *parameters}) - {"documents"}
