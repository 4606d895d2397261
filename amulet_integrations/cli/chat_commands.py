"""What can be typed in a chat beside questions: lines that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import typer

from amulet_integrations.decoding.guidance import check_guidance_scale
from amulet_integrations.decoding.strength import PRESETS, SCALES, Strength
from amulet_integrations.errors import AmuletError, InvalidParamsError, PreferenceSelectionError
from amulet_integrations.profiles import PreferenceProfile

from . import terminal
from .conversation import Conversation
from .options import parse_gate, parse_max_kl, read_strength

T = TypeVar("T", int, float)

YOU = "you"
"""The user of preferences that are given on the spot."""

# A path, such as /etc/hosts, is no command.
_COMMAND = re.compile(r"/[^\s/]*(?=\s|$)")
_EARLIER_NAMES = {"/prefer": "/preference", "/exit": "/quit", "/?": "/help", "/": "/help"}


class QuitChat(Exception):  # noqa: N818 - no error
    """The user has had enough."""


@dataclass(frozen=True)
class _Command:
    """A command.

    Attributes:
        name: Its name, with the slash.
        value: Stands for its value in the help; "" where it has none.
        text: The help.
        run: Is called with the conversation and the value.
        changes: Whether it changes how the next answers are decoded.
    """

    name: str
    value: str
    text: str
    run: Callable[[Conversation, str], None]
    changes: bool = True


def split_command(line: str) -> tuple[str, str] | None:
    """The command of a line and its value; None where the line is a question."""
    found = _COMMAND.match(line)
    return None if found is None else (found[0], line[found.end() :].strip())


def run_command(conversation: Conversation, name: str, value: str) -> bool:
    """Runs a command.

    Args:
        conversation: The chat.
        name: The command.
        value: What stands behind it.

    Returns:
        Whether it changed how the next answers are decoded.

    Raises:
        QuitChat: The command ends the chat.
        AmuletError: There is no such command, or its value is not valid.
    """
    known = {command.name: command for command in _COMMANDS}
    command = known.get(_EARLIER_NAMES.get(name, name))
    if command is None:
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise AmuletError(f"{name} is no command.{hint} There are: {', '.join(known)}.")
    if command.value and not value:
        raise AmuletError(f"{name} needs a value: {name} {command.value}")
    if value and not command.value:
        raise AmuletError(f"{name} takes no value; leave out {value!r:.80}.")
    command.run(conversation, value)
    return command.changes


def help_lines() -> Iterator[str]:
    """One line for each command."""
    usages = [f"{command.name} {command.value}".strip() for command in _COMMANDS]
    width = max(map(len, usages))
    for usage, command in zip(usages, _COMMANDS, strict=True):
        yield f"{usage:<{width}}  {command.text}"


def _help(_: Conversation, __: str) -> None:
    for line in help_lines():
        typer.secho(line, err=True, dim=True)


def _add_preference(conversation: Conversation, text: str) -> None:
    selection = conversation.selection
    if selection.user_id is not None:
        raise PreferenceSelectionError(
            f"This chat follows the profile of {selection.user_id}. Add to it: "
            f"{conversation.add_command(selection.user_id)} (it holds from the next answer on)"
        )
    before = selection.profile or PreferenceProfile(user_id=YOU)
    profile = before.model_copy(update={"preferences": (*before.preferences, text)})
    conversation.selection = selection.model_copy(update={"profile": profile})


def _set_user(conversation: Conversation, user_id: str) -> None:
    changes = {"user_id": user_id, "profile": None}
    conversation.selection = conversation.selection.model_copy(update=changes)


def _set_scale(conversation: Conversation, strength: Strength) -> None:
    _change(conversation, {name: getattr(strength, name) for name in SCALES})


def _set_guidance_scale(
    conversation: Conversation, value: str, command: str = "/guidance-scale"
) -> None:
    scale = check_guidance_scale(_number(command, value, float), source=command)
    _set_scale(conversation, Strength(guidance_scale=scale))


def _set_iterations(conversation: Conversation, value: str) -> None:
    _set_scale(conversation, read_strength(iterations=_number("/iterations", value, int)))


def _set_preset(conversation: Conversation, value: str) -> None:
    _set_scale(conversation, Strength.model_validate({"preset": value}))


def _set_strength(conversation: Conversation, value: str) -> None:
    if value == "none":
        _set_scale(conversation, Strength())
    elif value in PRESETS:
        _set_preset(conversation, value)
    else:
        _set_guidance_scale(conversation, value, "/strength")


def _set_max_kl(conversation: Conversation, value: str) -> None:
    _change(conversation, {"max_kl": parse_max_kl("/max-kl", value)})


def _set_gate(conversation: Conversation, value: str) -> None:
    _change(conversation, {"gate": parse_gate("/gate", value)})


def _set_method(conversation: Conversation, value: str) -> None:
    # The scales are Amulet's; another method refuses them.
    scales = dict.fromkeys(SCALES) if value != "amulet" else {}
    _change(conversation, {"method": value, **scales})


def _reset(conversation: Conversation, _: str) -> None:
    conversation.reset()
    terminal.notice("The conversation is forgotten.")


def _quit(_: Conversation, __: str) -> None:
    raise QuitChat


def _change(conversation: Conversation, changes: dict[str, Any]) -> None:
    conversation.selection = conversation.selection.model_copy(update=changes)


def _number(command: str, text: str, kind: type[T]) -> T:
    try:
        return kind(text)
    except ValueError:
        example = "whole number, such as 2" if kind is int else "number, such as 2.5"
        raise InvalidParamsError(f"{command} {text}: give a {example}.") from None


_COMMANDS = (
    _Command("/preference", "TEXT", "Follow one more preference.", _add_preference),
    _Command("/user", "NAME", "Follow the stored profile of this user instead.", _set_user),
    _Command("/strength", "P|NAME", "A guidance scale, a preset, or none.", _set_strength),
    _Command("/guidance-scale", "P", "1 is the prompt, above 1 amplifies.", _set_guidance_scale),
    _Command("/preset", "NAME", "gentle, default, strong or paper.", _set_preset),
    _Command("/iterations", "N", "The strength as updates of Amulet's game.", _set_iterations),
    _Command("/max-kl", "NATS", "The bound on what the strength may do, or none.", _set_max_kl),
    _Command("/gate", "KIND", "Leave out what a question has nothing to do with.", _set_gate),
    _Command("/method", "NAME", "amulet, linear_alignment, pref or base.", _set_method),
    _Command("/reset", "", "Forget the turns so far.", _reset, changes=False),
    _Command("/help", "", "Show this.", _help, changes=False),
    _Command("/quit", "", "Leave; so does Ctrl-D. Ctrl-C ends an answer only.", _quit),
)
