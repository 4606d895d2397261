"""Tools in the prompts of models whose chat template supports them.

Templates get tools in the form of the OpenAI API. What a template does not support is found out by
trying it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.prompting.chat_template import ChatFormat

from .probe import (
    PROBE_TOOL,
    CallStyle,
    all_rendered,
    detect_call_style,
    probe_calls,
    probe_result,
    probe_turn,
    sentinel,
)
from .turns import Turn


class NativeToolTemplate:
    """Passes tools, calls and results to the model's own chat template.

    Args:
        chat: The model's chat format.
        arguments_as_text: Whether the template takes the arguments of a call as JSON text.

    Attributes:
        format: Renders the conversations that mention tools.
        source: The source of everything that writes markers.
    """

    def __init__(self, chat: ChatFormat, *, arguments_as_text: bool) -> None:
        self.format = chat
        self.source: str = chat.source
        self._arguments_as_text = arguments_as_text

    @property
    def style(self) -> CallStyle:
        """How the template, and therefore the model, writes calls."""
        return self._detected_style or "hermes"

    @property
    def is_usable(self) -> bool:
        """Whether the template renders all parts of tools, and calls in a known style."""
        return self._detected_style is not None

    def describe_tools(self, tools: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
        """No part of the system text, and all tools for the template, which describes them."""
        return "", list(tools)

    def arrange_turns(self, turns: Sequence[Turn]) -> list[Turn]:
        """Splits turns of which the template loses a part, or which it refuses."""
        if self._loses_text:
            turns = [part for turn in turns for part in _split_text(turn)]
        if self._takes_one_call:
            turns = _split_calls(turns)
        return self._formatted(turns)

    @cached_property
    def _detected_style(self) -> CallStyle | None:
        turns = [probe_turn("user", "question"), probe_calls("one"), probe_result("one")]
        if not self.format.folds_system and not self.format.keeps_system(self._formatted(turns)):
            return None  # its place would change from turn to turn
        names = ["system", "question", "tool", "about", "parameter", "one", "result"]
        rendered = self._try(turns, tools=[PROBE_TOOL])
        if not all_rendered(names, rendered):
            return None
        if not all_rendered(["system", "one", "result"], self._try(turns)):
            return None
        answered = [probe_turn("user", "question"), probe_turn("assistant", "one")]
        return detect_call_style(rendered, self.format.try_render(answered))

    @cached_property
    def _takes_one_call(self) -> bool:
        """Whether a turn cannot have several calls."""
        results = [probe_result("one"), probe_result("two")]
        turns = [probe_turn("user", "question"), probe_calls("one", "two"), *results]
        return not all_rendered(["one", "two", "result"], self._try(turns, tools=[PROBE_TOOL]))

    @cached_property
    def _loses_text(self) -> bool:
        """Whether text is lost in a turn with calls, but not in a turn of its own."""
        question = probe_turn("user", "question")
        calls = {**probe_calls("one"), "content": sentinel("text")}
        after = [
            probe_result("one"),
            probe_turn("assistant", "answer"),
            probe_turn("user", "more"),
        ]
        together = self._try([question, calls, *after])
        split = self._try([question, *_split_text(calls), *after])
        expected = ["text", "one"]
        return not all_rendered(expected, together) and all_rendered(expected, split)

    def _try(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]] = ()) -> str:
        laid_out = self.format.layout(sentinel("system"), self._formatted(turns))
        return self.format.try_render(laid_out, tools)

    def _formatted(self, turns: Sequence[Turn]) -> list[Turn]:
        return [self._format_arguments(turn) for turn in turns]

    def _format_arguments(self, turn: Turn) -> Turn:
        if not self._arguments_as_text or "tool_calls" not in turn:
            return turn
        return {**turn, "tool_calls": [_with_text_arguments(call) for call in turn["tool_calls"]]}


def _with_text_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _split_text(turn: Turn) -> list[Turn]:
    """A turn of text and calls as two turns."""
    if "tool_calls" not in turn or not turn["content"]:
        return [turn]
    text = {name: value for name, value in turn.items() if name != "tool_calls"}
    calls = {name: value for name, value in turn.items() if name != "reasoning_content"}
    return [text, {**calls, "content": ""}]


def _split_calls(turns: Sequence[Turn]) -> list[Turn]:
    """Turns of one call each, every one followed by its results."""
    groups: list[list[Turn]] = []
    for turn in turns:
        if turn["role"] == "tool" and groups:
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return [turn for head, *results in groups for turn in _one_call_each(head, results)]


def _one_call_each(turn: Turn, results: Sequence[Turn]) -> list[Turn]:
    if "tool_calls" not in turn:
        return [turn, *results]
    ids = [call["id"] for call in turn["tool_calls"]]
    first, *others = turn["tool_calls"]
    more: list[Turn] = [
        {"role": turn["role"], "content": "", "tool_calls": [call]} for call in others
    ]

    def place(part: Turn) -> int:
        own = part["tool_call_id"] if part["role"] == "tool" else part["tool_calls"][0]["id"]
        return ids.index(own) if own in ids else len(ids)

    return sorted([{**turn, "tool_calls": [first]}, *more, *results], key=place)
