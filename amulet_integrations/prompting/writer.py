"""Writes a conversation as the text of one context, and that text as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from amulet_integrations.prompting.chat_template import PromptFormat
from amulet_integrations.prompting.escaping import ControlTokens, Disguise, Text
from amulet_integrations.prompting.messages import system_text
from amulet_integrations.prompting.prompt_inputs import Asked, json_section
from amulet_integrations.prompting.tools.template import ToolTemplate
from amulet_integrations.prompting.tools.turns import Turn, turns_of


class PromptWriter:
    """Writes prompts in one format.

    Everything that people wrote is put in disguise first; what is laid out and rendered after
    that is ours and the template's, and last the disguise is taken off.

    Args:
        prompt_format: The model's prompt format.
        control_tokens: The tokenizer, with the markers of the format.
        default_system: The system text when the caller gave none.
        separator: Stands between the system text and the preference.
        tool_template: How tools are told; None for conversations that have none.
    """

    def __init__(
        self,
        prompt_format: PromptFormat,
        control_tokens: ControlTokens,
        *,
        default_system: str,
        separator: str,
        tool_template: ToolTemplate | None = None,
    ) -> None:
        self._format = prompt_format
        self._control_tokens = control_tokens
        self._default_system = default_system
        self._separator = separator
        self._tool_template = tool_template

    def written(self, asked: Asked, preference: str | None) -> Text:
        """The prompt of one context; `asked` and `preference` are known to be sound."""
        ours = (self._default_system, self._separator, preference or "")
        disguise = self._control_tokens.disguise(chain(ours, asked.strings()))
        tools = [
            {**tool, "function": _values_disguised(tool["function"], disguise)}
            for tool in asked.tool_turns
        ]
        sections = [json_section(disguise.put_on_json(asked.schema))]
        turns = self._turns(asked, disguise)
        handed = None
        if self._tool_template is not None:
            sections.insert(0, self._tool_template.section(tools))
            turns = self._tool_template.arranged(turns)
            handed = self._tool_template.handed(tools)
        system = system_text(
            (disguise.put_on(m.content) for m in asked.messages if m.role == "system"),
            None if preference is None else disguise.put_on(preference),
            default=disguise.put_on(self._default_system),
            separator=disguise.put_on(self._separator),
            sections=sections,
        )
        options = _values_disguised(asked.options or {}, disguise)
        laid_out = self._format.layout(system, turns)
        return disguise.take_off(self._format.render(laid_out, handed, options))

    def encode(self, text: Text) -> list[int]:
        """Token ids of a prompt, with those that stand in front of every text."""
        # Rendered templates bring their own BOS; plain text needs the tokenizer's.
        leading = [] if self._format.is_chat else self._control_tokens.leading_ids
        return leading + self._control_tokens.encode(text)

    def _turns(self, asked: Asked, disguise: Disguise) -> list[Turn]:
        turns = map(self._format.part_reasoning, turns_of(asked.messages))
        return [_disguised(turn, disguise) for turn in turns]


def _disguised(turn: Turn, disguise: Disguise) -> Turn:
    """A turn in disguise: all but what is the same whatever people write."""
    # Templates may write what tools gave as JSON.
    put_on = disguise.put_on_json if turn["role"] == "tool" else disguise.put_on
    shown = {**turn, "content": put_on(turn["content"])}
    if "reasoning_content" in turn:
        shown["reasoning_content"] = disguise.put_on(turn["reasoning_content"])
    if "name" in turn:
        shown["name"] = disguise.put_on_json(turn["name"])
    if "tool_calls" in turn:
        shown["tool_calls"] = [
            {**call, "function": _values_disguised(call["function"], disguise)}
            for call in turn["tool_calls"]
        ]
    return shown


def _values_disguised(named: Mapping[str, Any], disguise: Disguise) -> dict[str, Any]:
    return {name: disguise.put_on_json(value) for name, value in named.items()}
