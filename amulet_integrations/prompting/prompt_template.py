"""Writes a conversation with the chat template: escaped, with placeholders for strangers' texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.turns import Turn, turns_of

from .chat_template import PromptFormat
from .escaping import ControlTokenEscaper
from .messages import BLANK_LINE, ChatMessage
from .name_check import Names, NameVerdicts
from .placeholders import Placeholders
from .prompt_inputs import PromptInputs
from .prompt_tokenizer import PromptTokenizer
from .stranger_texts import StrangerTexts

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
        verdicts: What the template makes of names.
    """

    format: PromptFormat
    tokenizer: PromptTokenizer
    default_system: str
    separator: str
    context_window: int | None = None
    tools: ToolTemplate | None = None
    verdicts: NameVerdicts = field(default_factory=NameVerdicts, compare=False)


class ConversationTemplate:
    """One conversation, which the template writes in several ways.

    Args:
        inputs: The conversation, which is known to be valid.
        template: How prompts are written.
        escaper: Escapes what people or the model wrote.
        placeholders: Stand for texts that a stranger may have written.
    """

    def __init__(
        self,
        inputs: PromptInputs,
        template: PromptTemplate,
        escaper: ControlTokenEscaper,
        placeholders: Placeholders,
    ) -> None:
        self._inputs = inputs
        self._template = template
        self._escaper = escaper
        self._placeholders = placeholders
        self._now = datetime.now()  # noqa: DTZ005 - templates write the local time

    def render(
        self,
        preference: str = "",
        names: Names | None = None,
        write_text: Callable[[str], str] | None = None,
    ) -> str:
        """The conversation as the template writes it, escaped and with placeholders.

        Args:
            preference: What follows the system text.
            names: What to write in place of some names of tools and properties.
            write_text: What to write in place of texts, which is escaped; None for placeholders.
        """
        inputs, template, escaper = self._inputs, self._template, self._escaper

        def write_name(name: str) -> str:
            return str(escaper.escape_json((names or {}).get(name, name)))

        def write_escaped(text: str) -> str:
            return str(escaper.escape_json(write_text(text))) if write_text else hide(text)

        hide = self._placeholders.hide
        texts = StrangerTexts(write_name, write_escaped)
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
