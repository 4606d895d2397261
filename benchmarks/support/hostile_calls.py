"""Calls that ask for more work than anybody may have, for benchmarks and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MEGABYTE = 1_000_000
QUESTION = "What is the sea?"


class HostileCall(NamedTuple):
    """One call.

    Attributes:
        text: What the user writes.
        arguments: Of the call, as both wrappers take them.
    """

    text: str = QUESTION
    arguments: Mapping[str, Any] = {}


def _with_schema(schema: Mapping[str, Any]) -> HostileCall:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return HostileCall(arguments={"response_format": wanted})


def _with_pattern(pattern: str) -> HostileCall:
    return _with_schema(
        {
            "type": "object",
            "properties": {"value": {"type": "string", "pattern": pattern}},
            "required": ["value"],
        }
    )


def endless_object(number: int) -> HostileCall:
    """No finite object follows the schema, and looking for one doubles at every level."""
    node = {"$ref": "#/$defs/node"}
    names = (f"left{number}", f"right{number}")
    return _with_schema(
        {
            **node,
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": dict.fromkeys(names, node),
                    "required": list(names),
                }
            },
        }
    )


def long_pattern(number: int) -> HostileCall:
    """A million characters and more."""
    return _with_pattern(f"^a{{{MEGABYTE + number}}}$")


def wide_pattern(number: int) -> HostileCall:
    """An alternation of 50,000 ways."""
    return _with_pattern(f"^({'|'.join(f'w{way}x{number}' for way in range(50_000))})$")


def wide_object(number: int) -> HostileCall:
    """Ten thousand required properties."""
    names = [f"p{number}x{which}" for which in range(10_000)]
    properties = {name: {"type": "string", "minLength": 1} for name in names}
    return _with_schema({"type": "object", "properties": properties, "required": names})


def long_message(number: int) -> HostileCall:
    """A megabyte of words."""
    return HostileCall(f"{number} " + "the sea is blue " * (MEGABYTE // 16))


def long_word(number: int) -> HostileCall:
    """A megabyte without a space."""
    return HostileCall(f"{number}" + "ab" * (MEGABYTE // 2))


def long_preference(number: int) -> HostileCall:
    """A preference as long as one may be, a hundred times."""
    return _with_preferences(f"{number} " + "be brief " * 200, 100)


def many_preferences(number: int) -> HostileCall:
    """A thousand preferences, each of them a context of its own."""
    return _with_preferences(f"Be {number}", 1_000)


def _with_preferences(text: str, count: int) -> HostileCall:
    preferences = [{"text": f"{text} {which}", "weight": 0.5} for which in range(count)]
    profile = {"user_id": "mallory", "preferences": preferences}
    return HostileCall(arguments={"profile": profile})


HOSTILE_CALLS: tuple[Callable[[int], HostileCall], ...] = (
    endless_object,
    long_pattern,
    wide_pattern,
    wide_object,
    long_message,
    long_word,
    long_preference,
    many_preferences,
)
"""Eight kinds. A call is another one for every number, so that no cache knows it."""
