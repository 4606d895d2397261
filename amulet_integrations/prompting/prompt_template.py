"""Writes a conversation with the chat template: escaped, with placeholders for strangers' texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.turns import Turn, turns_of

from .chat_template import PromptFormat
from .escaping import ControlTokenEscaper, PromptText
from .messages import BLANK_LINE, ChatMessage
from .placeholders import HiddenText, Placeholders, find_special_name
from .prompt_inputs import PromptInputs
from .prompt_tokenizer import PromptTokenizer
from .stranger_texts import StrangerTexts, names_in

PREFERENCE_LEFT_OUT = (
    "The prompt with the preference is the same as the one without, so no answer could "
    "follow it: the model's chat template leaves the preference out. Pass a "
    "chat_template that writes the whole system text, or another preference."
)
_MAX_EDGES = 16  # kinds of white space around preferences, of which renderings are kept
_SHOWN = 80  # characters of a name
_JSON_SECTION = "Answer with nothing but JSON that follows this JSON schema:\n%s"


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """How the prompts of one model are written.

    Attributes:
        format: The model's prompt format.
        tokenizer: The tokenizer, with the markers that the format writes.
        default_system: The system text if the caller gave none.
        separator: Stands between the system text and the preference.
        context_window: Most tokens of a prompt; None if that is not known.
        tools: How tools, calls and results are written; None for conversations without any.
    """

    format: PromptFormat
    tokenizer: PromptTokenizer
    default_system: str
    separator: str
    context_window: int | None = None
    tools: ToolTemplate | None = None


class PromptWriter:
    """Writes the prompts of one conversation.

    The template is rendered once without a preference and once with a placeholder for it.

    Args:
        inputs: The conversation, which is known to be valid.
        template: How prompts are written.
    """

    def __init__(self, inputs: PromptInputs, template: PromptTemplate) -> None:
        self._inputs = inputs
        self._template = template
        own = (template.default_system, template.separator)
        self._escaper = template.tokenizer.escaper(chain(own, inputs.strings()))
        opening, closing, self._mark = self._escaper.spare
        self._placeholders = Placeholders(opening, closing)
        self._now = datetime.now()  # noqa: DTZ005 - templates write the local time
        self._preferred: dict[tuple[str, str], PromptText] = {}

    @cached_property
    def base(self) -> PromptText:
        """The prompt without a preference.

        Raises:
            PromptError: The template refuses the conversation, changes a text, or treats a name in
                a way of its own.
        """
        return self._placeholders.fill(self._escaper.unescape(self._rendered_base))

    def with_preference(self, preference: str) -> PromptText:
        """The prompt with a preference, which differs from the base by nothing else.

        Raises:
            PromptError: As for `base`; or the template leaves the preference out, or writes more
                than it.
        """
        hidden = HiddenText.of(self._template.separator + preference)
        edges = hidden.before, hidden.after
        if edges not in self._preferred:
            rendered = self._render(hidden.around(self._placeholders.preference))
            prompt = self._escaper.unescape(rendered)
            self._placeholders.fill(prompt)
            self._check_difference(rendered, hidden)
            if len(self._preferred) >= _MAX_EDGES:
                self._preferred.clear()
            self._preferred[edges] = prompt
        return self._placeholders.fill(self._preferred[edges], hidden.text)

    @cached_property
    def _rendered_base(self) -> str:
        """The base, with placeholders, after checking what the template makes of names."""
        rendered = self._render("")
        called = {call.name for message in self._inputs.messages for call in message.tool_calls}
        tools = (tool.model_dump() for tool in self._inputs.tools)
        names = [*dict.fromkeys([*names_in(tools, self._inputs.schema), *called])]

        def is_special(marked: list[str]) -> bool:
            try:
                return self._render("", frozenset(marked)).replace(self._mark, "") != rendered
            except PromptError:
                return True

        if name := find_special_name(names, is_special):
            raise PromptError(
                f"The model's chat template looks for words in the names of tools and properties, "
                f"and writes another prompt because of the name {name[:_SHOWN]!r}. Rename it, or "
                "pass a chat_template that writes names as they are."
            )
        return rendered

    def _check_difference(self, rendered: str, hidden: HiddenText) -> None:
        """Refuses a prompt that differs from the base by more than the preference."""
        bare = self._placeholders.without_preference(rendered, hidden)
        if bare == rendered:
            raise PromptError(PREFERENCE_LEFT_OUT)
        # White space is left out, because templates trim the end of the system text.
        if "".join(bare.split()) != "".join(self._rendered_base.split()):
            raise PromptError(
                "The model's chat template writes another prompt where the system text holds a "
                "preference, so the contexts would differ by more than the preference. Pass a "
                "chat_template that writes the system text as it is."
            )

    def _render(self, preference: str, marked: Container[str] = ()) -> str:
        """The conversation as the template writes it, escaped and with placeholders.

        Args:
            preference: What follows the system text.
            marked: The names of tools and properties with a mark around every character.
        """
        inputs, template, escaper = self._inputs, self._template, self._escaper

        def write_name(name: str) -> str:
            escaped = str(escaper.escape_json(name))
            return self._mark.join(("", *escaped, "")) if name in marked else escaped

        texts = StrangerTexts(write_name, self._placeholders.hide)
        turns = [
            _escape_turn(template.format.split_reasoning(turn), escaper, write_name)
            for turn in turns_of(_without_empty_end(inputs.messages))
        ]
        sections = []
        template_tools: list[dict[str, Any]] = []
        if template.tools is not None:
            tools = [
                {"type": "function", "function": texts.tool(tool.model_dump())}
                for tool in inputs.tools
            ]
            section, template_tools = template.tools.describe_tools(tools)
            sections.append(section)
            turns = template.tools.arrange_turns(turns)
        if inputs.schema is not None:
            schema = texts.schema(inputs.schema)
            written = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
            sections.append(_JSON_SECTION % written)
        given = [m.content for m in inputs.messages if m.role == "system" and m.content.strip()]
        system = BLANK_LINE.join(
            [*map(escaper.escape, given or [template.default_system]), *filter(None, sections)]
        )
        # System messages are gathered at the front, also those that come last.
        continues = inputs.messages[-1].role == "assistant"
        return template.format.render(
            template.format.layout(system + preference, turns, continues=continues),
            template_tools,
            escaper.escape_values(inputs.chat_template_kwargs or {}),
            continues=continues,
            now=self._now,
        )


def _without_empty_end(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The messages without blank ones of the assistant at the end: they have yet to be written."""
    end = len(messages)
    while end and _is_empty_answer(messages[end - 1]):
        end -= 1
    return messages[:end]


def _is_empty_answer(message: ChatMessage) -> bool:
    is_blank = not (message.content.strip() or message.reasoning or message.tool_calls)
    return message.role == "assistant" and is_blank


def _escape_turn(
    turn: Turn, escaper: ControlTokenEscaper, write_name: Callable[[str], str]
) -> Turn:
    """A turn with everything escaped that people or the model wrote."""
    # Templates may write the results of tools as JSON.
    escape = escaper.escape_json if turn["role"] == "tool" else escaper.escape
    escaped = {**turn, "content": escape(turn["content"])}
    if "reasoning_content" in turn:
        escaped["reasoning_content"] = escaper.escape(turn["reasoning_content"])
    if "name" in turn:
        escaped["name"] = write_name(turn["name"])
    if "tool_calls" in turn:
        escaped["tool_calls"] = [
            {
                **call,
                "function": {
                    "name": write_name(call["function"]["name"]),
                    "arguments": escaper.escape_json(call["function"]["arguments"]),
                },
            }
            for call in turn["tool_calls"]
        ]
    return escaped
