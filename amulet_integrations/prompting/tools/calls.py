"""Which call each tool message answers."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.messages import ChatMessage
from amulet_integrations.prompting.tools.tool_use import ToolCall


def numbered_calls(messages: Sequence[ChatMessage]) -> list[tuple[int, ...]]:
    """Counts the calls of a conversation and finds the one that each tool message answers.

    A tool message with an id answers the latest call of that id. One without an id answers the
    first call of the latest calling message that has no answer yet; if it has a name, the first
    one to the tool of that name.

    Args:
        messages: The conversation.

    Returns:
        For each message the numbers, counted from 0 over the conversation, of the calls that it
        makes (an assistant's) or of the one that it answers (a tool's); () for the others.

    Raises:
        PromptError: A tool message that answers no call made before it, or calls, a call id or
            reasoning on a message of a role that has none.
    """
    made: list[ToolCall] = []
    latest: list[int] = []  # the numbers of the latest message's calls that have no answer yet
    numbers: list[tuple[int, ...]] = []
    for place, message in enumerate(messages):
        _check_role(place, message)
        own: tuple[int, ...] = ()
        if message.tool_calls:
            own = tuple(range(len(made), len(made) + len(message.tool_calls)))
            made += message.tool_calls
            latest = list(own)
        elif message.role == "tool":
            own = (_answered(place, message, made, latest),)
            latest = [number for number in latest if number not in own]
        numbers.append(own)
    return numbers


def _check_role(place: int, message: ChatMessage) -> None:
    fields = {"tool_calls": "assistant", "reasoning": "assistant", "tool_call_id": "tool"}
    for field, role in fields.items():
        if message.role != role and getattr(message, field):
            raise PromptError(
                f"messages[{place}] is the {message.role}'s and has {field}, which only messages "
                f"of the role {role!r} have. Change its role, or leave {field} out."
            )


def _answered(
    place: int, message: ChatMessage, made: Sequence[ToolCall], latest: Sequence[int]
) -> int:
    if message.tool_call_id is not None:
        known = {call.id: number for number, call in enumerate(made)}
        if message.tool_call_id in known:
            return known[message.tool_call_id]
        ids = [repr(call.id) for call in made if call.id is not None]
        raise PromptError(
            f"messages[{place}] is the result of the call {message.tool_call_id!r}, but no message "
            f"before it made that call; {_listed('the calls made are', ids)}. Put the assistant's "
            "message that made the call in front of it, or leave the result out."
        )
    open_calls = [n for n in latest if message.name in (None, made[n].name)]
    if open_calls:
        return open_calls[0]
    names = [repr(made[number].name) for number in latest]
    what = "a tool" if message.name is None else f"the tool {message.name!r}"
    raise PromptError(
        f"messages[{place}] is the result of {what} and names no call, but no call of "
        f"the message before it waits for one; {_listed('calls without a result', names)}. Give it "
        "the tool_call_id of the call that it answers, or leave it out."
    )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else f"{what}: none"


def parted(messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], list[ChatMessage]]:
    """The messages of which a conversation can be made, and those that lack their call."""
    sound: list[ChatMessage] = []
    lone: list[ChatMessage] = []
    for message in messages:
        try:
            numbered_calls([*sound, message])
        except PromptError:
            lone.append(message)
        else:
            sound.append(message)
    return sound, lone
