"""Messages as chat templates take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.prompting.messages import ChatMessage
from amulet_integrations.prompting.tools.calls import numbered_calls
from amulet_integrations.prompting.tools.tool_use import Tool

Turn = dict[str, Any]
"""A message as templates take it: "role" and "content", for some also "reasoning_content",
"tool_calls", "tool_call_id" and "name"."""


def turns_of(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The turns of a conversation that is known to be sound, without the system's.

    Calls get ids of our own, the same for a call and its result: some templates take only nine
    letters and digits, and whatever the caller's ids are made of stays out of the prompt.
    """
    numbers = numbered_calls(messages)
    names = [call.name for message in messages for call in message.tool_calls]
    return [
        _turn(message, own, names)
        for message, own in zip(messages, numbers, strict=True)
        if message.role != "system"
    ]


def tool_turn(tool: Tool) -> dict[str, Any]:
    """A tool as templates are told of it."""
    return {"type": "function", "function": tool.model_dump()}


def _turn(message: ChatMessage, numbers: Sequence[int], names: Sequence[str]) -> Turn:
    turn: Turn = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        turn["reasoning_content"] = message.reasoning
    if message.role == "tool":
        (number,) = numbers
        turn |= {"tool_call_id": _call_id(number), "name": names[number]}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": _call_id(number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in zip(numbers, message.tool_calls, strict=True)
        ]
    return turn


def _call_id(number: int) -> str:
    return f"call{number:05d}"
