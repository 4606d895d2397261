"""Writes a conversation with the chat template: escaped, with placeholders for strangers' texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.turns import Turn, turns_of

from .chat_template import PromptFormat
from .escaping import ControlTokenEscaper, PromptText
from .messages import BLANK_LINE, ChatMessage
from .name_check import (
    Names,
    NameVerdicts,
    SortedNames,
    differs_by_shifts,
    find_special_name,
    shifted,
)
from .placeholders import Placeholders
from .prompt_inputs import PromptInputs
from .prompt_tokenizer import PromptTokenizer
from .stranger_texts import KEYS, StrangerTexts, names_in

_LEFT_OUT = (
    "The prompt with the preference is the same as the one without, so no answer could "
    "follow it: the model's chat template leaves the preference out. Pass a "
    "chat_template that writes the whole system text, or another preference."
)
_SHAPED = (
    "The model's chat template writes another prompt for the length of a text, or for marks and "
    "capitals in it: of the preference, or of a description in a tool or schema. So it cannot be "
    "written as it is. Use shorter and simpler texts, or pass a chat_template that writes texts "
    "unchanged."
)
_MAX_SHAPES = 16  # shapes of preferences, of which renderings are kept
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
        verdicts: What the template makes of names.
    """

    format: PromptFormat
    tokenizer: PromptTokenizer
    default_system: str
    separator: str
    context_window: int | None = None
    tools: ToolTemplate | None = None
    verdicts: NameVerdicts = field(default_factory=NameVerdicts, compare=False)


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
        self._opening, closing = self._escaper.spare
        self._placeholders = Placeholders(
            self._opening, closing, self._escaper.word, self._escaper.escape
        )
        self._now = datetime.now()  # noqa: DTZ005 - templates write the local time
        self._preferred: dict[str, PromptText] = {}

    @cached_property
    def base(self) -> PromptText:
        """The prompt without a preference.

        Raises:
            PromptError: The template refuses the conversation, changes a text, or treats a name in
                a way of its own.
        """
        rendered = self._render()
        prompt = self._escaper.unescape(rendered)
        base = self._placeholders.fill(prompt)
        self._check_shapes(prompt)
        if name := self._find_special_name(rendered, base.text):
            raise PromptError(
                f"The model's chat template looks for words in the names of tools and properties, "
                f"and writes another prompt because of the name {name[:_SHOWN]!r}. Rename it, or "
                "pass a chat_template that writes names as they are."
            )
        return base

    def with_preference(self, preference: str) -> PromptText:
        """The prompt with a preference, which differs from the base by nothing else.

        Raises:
            PromptError: As for `base`; or the template leaves the preference out, or writes more
                than it.
        """
        preference = self._template.separator + preference
        hidden = self._placeholders.hide_preference(preference)
        if hidden not in self._preferred:
            rendered = self._render(hidden)
            prompt = self._escaper.unescape(rendered)
            self._placeholders.fill(prompt)
            self._check_texts_differ_by(rendered, hidden)
            self._check_shapes(prompt, preference)
            if len(self._preferred) >= _MAX_SHAPES:
                self._preferred.clear()
            self._preferred[hidden] = prompt
        return self._placeholders.fill(self._preferred[hidden], preference)

    def _check_shapes(self, prompt: PromptText, preference: str | None = None) -> None:
        """Refuses texts of which the template reads more than their first and last characters.

        The same texts without their words cannot switch a template. So the template has to write
        them as they are put in for the placeholders.

        Args:
            prompt: The prompt with placeholders.
            preference: What follows the system text; None for none.
        """
        inputs, write_text = self._inputs, self._placeholders.without_words
        texts = StrangerTexts(str, write_text)
        written = None if preference is None else write_text(preference)
        tools = [texts.tool(tool.model_dump()) for tool in inputs.tools]
        schema = texts.schema(inputs.schema)
        if not (written or tools or schema):
            return

        def find() -> str | None:
            plain = self._render(self._escaper.escape(written or ""), write_text=write_text)
            expected = self._placeholders.fill(prompt, preference, words=False).text
            return None if self._escaper.unescape(plain).text == expected else "changed"

        systems = [it.content for it in inputs.messages if it.role == "system"]
        roles = [it.role for it in inputs.messages]
        kwargs = dict(inputs.chat_template_kwargs or {})
        places = ("shapes", written, tools, schema, written and systems, sorted({*roles}), kwargs)
        key = sha256(json.dumps(places).encode()).digest()
        if self._template.verdicts.get(key, find) is not None:
            raise PromptError(_SHAPED)

    def _find_special_name(self, rendered: str, base: str) -> str | None:
        """A name that the template treats in a way of its own; None if there is none.

        Args:
            rendered: The prompt as the template wrote it.
            base: The prompt.
        """
        inputs = self._inputs
        called = {call.name for message in inputs.messages for call in message.tool_calls}
        tools = [tool.model_dump() for tool in inputs.tools]
        names = [*dict.fromkeys([*names_in(iter(tools), inputs.schema), *sorted(called)])]

        def is_special(some: list[str]) -> bool:
            return not any(self._renames(some, names, rendered, base))

        def find() -> str | None:
            return find_special_name(names, is_special)

        if not names:
            return None
        without_texts = StrangerTexts(str, lambda text: text and "text")
        places = (
            [without_texts.tool(tool) for tool in tools],
            without_texts.schema(inputs.schema),
            sorted(called),
            sorted({message.role for message in inputs.messages}),
            dict(inputs.chat_template_kwargs or {}),
        )
        return self._template.verdicts.get(sha256(json.dumps(places).encode()).digest(), find)

    def _renames(
        self, some: Sequence[str], names: Sequence[str], rendered: str, base: str
    ) -> Iterator[bool]:
        """For each way to write some of the names: whether nothing but the names changes."""
        others = {*names} - {*some}
        if (written := shifted(some, others)) is not None:
            try:
                yield differs_by_shifts(rendered, self._render(names=written))
            except PromptError:
                yield False
        for key in (str, str.lower):
            ordered = SortedNames(some, others | KEYS, key, self._placeholders.hide_whole)
            try:
                renamed = self._escaper.unescape(self._render(names=ordered.written)).text
                bare = ordered.without_prefixes(renamed, self._opening)
                yield self._placeholders.fill(bare).text == base
            except PromptError:
                yield False

    def _check_texts_differ_by(self, rendered: str, hidden: str) -> None:
        """Refuses a prompt that lacks the preference, or differs from the base by more than it."""
        if not self._placeholders.has_preference(rendered):
            raise PromptError(_LEFT_OUT)
        bare = self._placeholders.without_preference(rendered, hidden)
        without = self._placeholders.fill(self._escaper.unescape(bare)).text
        # White space is left out, because templates trim the end of the system text.
        if "".join(without.split()) != "".join(self.base.text.split()):
            raise PromptError(
                "The model's chat template writes another prompt where the system text holds a "
                "preference, so the contexts would differ by more than the preference. Pass a "
                "chat_template that writes the system text as it is."
            )

    def _render(
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
