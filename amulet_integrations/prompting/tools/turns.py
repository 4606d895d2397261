"""Messages, calls and tools in the form in which chat templates take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.messages import ChatMessage

from .tool_use import ToolCall

Turn = dict[str, Any]
"""A message as templates take it: "role" and "content", for some also "reasoning_content",
"tool_calls", "tool_call_id" and "name"."""


def turns_of(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The turns of a valid conversation, without the system messages.

    Calls get new ids, the same for a call and its result: some templates take only ids of nine
    letters and digits, and so nothing of the caller's ids gets into the prompt.
    """
    numbers = number_calls(messages)
    names = [call.name for message in messages for call in message.tool_calls]
    return [
        _turn(message, own, names)
        for message, own in zip(messages, numbers, strict=True)
        if message.role != "system"
    ]


def number_calls(messages: Sequence[ChatMessage]) -> list[tuple[int, ...]]:
    """Counts the calls of a conversation and finds the call that each tool message answers.

    A tool message with an id answers the latest call of that id. One without an id answers the
    first call of the latest calling message that has no answer yet; if it has a name, the first
    such call to the tool of that name. So does one whose id no call has, among the calls that have
    no id.

    Args:
        messages: The conversation.

    Returns:
        One tuple for each message. For an assistant's message it has the numbers of its calls,
        counted from 0 over the conversation; for a tool's message the number of the call that it
        answers; for others it is empty.

    Raises:
        PromptError: A tool message answers no call made before it; or a message has calls, a call
            id or reasoning, and its role has none.
    """
    made: list[ToolCall] = []
    waiting: list[int] = []  # the calls of the latest calling message that have no answer yet
    numbers: list[tuple[int, ...]] = []
    for place, message in enumerate(messages):
        _check_role(place, message)
        own: tuple[int, ...] = ()
        if message.tool_calls:
            own = tuple(range(len(made), len(made) + len(message.tool_calls)))
            made += message.tool_calls
            waiting = list(own)
        elif message.role == "tool":
            own = (_answered_call(place, message, made, waiting),)
            waiting = [number for number in waiting if number not in own]
        numbers.append(own)
    return numbers


def split_orphan_results(
    messages: Sequence[ChatMessage],
) -> tuple[list[ChatMessage], list[ChatMessage]]:
    """Separates the messages that can form a conversation from results that answer no call."""
    sound: list[ChatMessage] = []
    orphans: list[ChatMessage] = []
    for message in messages:
        try:
            number_calls([*sound, message])
        except PromptError:
            orphans.append(message)
        else:
            sound.append(message)
    return sound, orphans


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


def _check_role(place: int, message: ChatMessage) -> None:
    fields = {"tool_calls": "assistant", "reasoning": "assistant", "tool_call_id": "tool"}
    for field, role in fields.items():
        if message.role != role and getattr(message, field):
            raise PromptError(
                f"messages[{place}] is the {message.role}'s and has {field}, which only messages "
                f"of the role {role!r} have. Change its role, or leave {field} out."
            )


def _answered_call(
    place: int, message: ChatMessage, made: Sequence[ToolCall], waiting: Sequence[int]
) -> int:
    named = message.tool_call_id is not None
    if named:
        known = {call.id: number for number, call in enumerate(made)}
        if message.tool_call_id in known:
            return known[message.tool_call_id]
        # Whoever ran a call that has no id had to make one up.
        waiting = [number for number in waiting if made[number].id is None]
    matching = [number for number in waiting if message.name in (None, made[number].name)]
    if matching:
        return matching[0]
    if named:
        calls = ", ".join(map(_described, made)) or "none"
        raise PromptError(
            f"messages[{place}] is the result of the call {message.tool_call_id!r}, but no message "
            f"before it made that call; the calls made are: {calls}. Put the assistant's message "
            "that made the call in front of it, or leave the result out."
        )
    names = ", ".join(repr(made[number].name) for number in waiting) or "none"
    what = "a tool" if message.name is None else f"the tool {message.name!r}"
    raise PromptError(
        f"messages[{place}] is the result of {what} and names no call, but no call of "
        f"the message before it waits for one; calls without a result: {names}. Give it "
        "the tool_call_id of the call that it answers, or leave it out."
    )


def _described(call: ToolCall) -> str:
    return repr(call.id) if call.id is not None else f"one of {call.name!r} without an id"
