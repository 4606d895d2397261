"""The tools of a chat template that knows them.

Templates are told in the shape of the OpenAI API. What one cannot take is found out by trying it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from amulet_integrations.prompting.chat_template import ChatFormat
from amulet_integrations.prompting.tools.probe import (
    SENTINEL,
    CallStyle,
    between,
    calling,
    result,
    said,
    shown,
    style_of,
    word,
)
from amulet_integrations.prompting.tools.turns import Turn


class OwnTools:
    """The tools of a chat template that knows them.

    Args:
        chat: The model's chat format.
        arguments_as_text: The template wants the arguments of a call as JSON text.
    """

    def __init__(self, chat: ChatFormat, *, arguments_as_text: bool) -> None:
        self.format = chat
        self.source = chat.source
        self._arguments_as_text = arguments_as_text

    @property
    def style(self) -> CallStyle:
        """How the template writes calls, and the model therefore as well."""
        return self._style or "hermes"

    @property
    def is_usable(self) -> bool:
        """Whether all that is said of tools comes out, calls in a known style."""
        return self._style is not None

    def section(self, tools: Sequence[dict[str, Any]]) -> str:  # noqa: ARG002
        """Nothing: the template tells of the tools."""
        return ""

    def handed(self, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """All of them."""
        return list(tools)

    def arranged(self, turns: Sequence[Turn]) -> list[Turn]:
        """Parts turns that the template takes only in part, or refuses."""
        if self._parts_text:
            turns = [part for turn in turns for part in _text_apart(turn)]
        if self._one_call_a_turn:
            turns = _calls_apart(turns)
        return [self._shaped(turn) for turn in turns]

    @cached_property
    def _style(self) -> CallStyle | None:
        talk = [said("user", "question"), calling("one"), result("one")]
        told = ["system", "question", "tool", "about", "parameter", "one", "result"]
        with_tools = self._tried(talk, tools=[SENTINEL])
        without = self._tried(talk)
        if not shown(told, with_tools) or not shown(["system", "one", "result"], without):
            return None
        opening = self.format.try_render([said("user", "question"), said("assistant", "one")])
        return style_of(with_tools, between(opening, word("question"), word("one")))

    @cached_property
    def _one_call_a_turn(self) -> bool:
        talk = [said("user", "question"), calling("one", "two"), result("one"), result("two")]
        return not shown(["one", "two", "result"], self._tried(talk, tools=[SENTINEL]))

    @cached_property
    def _parts_text(self) -> bool:
        """Whether text beside calls is lost in their turn, and not in one of its own."""
        talk = [said("user", "question"), {**calling("one"), "content": word("text")}]
        after = [result("one"), said("assistant", "answer"), said("user", "more")]
        if shown(["text", "one"], self._tried([*talk, *after])):
            return False
        parted = [*talk[:1], *_text_apart(talk[1]), *after]
        return shown(["text", "one"], self._tried(parted))

    def _tried(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]] = ()) -> str:
        shaped = [self._shaped(turn) for turn in turns]
        return self.format.try_render(self.format.layout(word("system"), shaped), tools)

    def _shaped(self, turn: Turn) -> Turn:
        if not self._arguments_as_text or "tool_calls" not in turn:
            return turn
        return {**turn, "tool_calls": [_with_text(call) for call in turn["tool_calls"]]}


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _text_apart(turn: Turn) -> list[Turn]:
    """A turn of text and calls as two turns."""
    if "tool_calls" not in turn or not turn["content"]:
        return [turn]
    text = {name: value for name, value in turn.items() if name != "tool_calls"}
    calls = {name: value for name, value in turn.items() if name != "reasoning_content"}
    return [text, {**calls, "content": ""}]


def _calls_apart(turns: Sequence[Turn]) -> list[Turn]:
    """One call a turn, and behind each what it gave."""
    apart: list[Turn] = []
    calls: list[Turn] = []
    results: list[Turn] = []
    for turn in turns:
        if turn["role"] == "tool":
            results.append(turn)
            continue
        apart += _with_own_results(calls, results)
        calls, results = [], []
        if "tool_calls" in turn:
            calls = _one_each(turn)
        else:
            apart.append(turn)
    return apart + _with_own_results(calls, results)


def _one_each(turn: Turn) -> list[Turn]:
    first, *others = turn["tool_calls"]
    more: list[Turn] = [
        {"role": turn["role"], "content": "", "tool_calls": [call]} for call in others
    ]
    return [{**turn, "tool_calls": [first]}, *more]


def _with_own_results(calls: Sequence[Turn], results: Sequence[Turn]) -> list[Turn]:
    paired: list[Turn] = []
    for call in calls:
        (made,) = call["tool_calls"]
        paired += [call, *(turn for turn in results if turn["tool_call_id"] == made["id"])]
    return paired + [turn for turn in results if turn not in paired]
