"""Bounds the size of a JSON schema before anything is compiled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from amulet_integrations.errors import UnsupportedGrammarError

MAX_CHARACTERS = 128 * 1024
"""Most characters of a schema, about as JSON writes it.

A line feed counts for many, because every line is written into the prompt by itself.
"""

# Of the quotes, colons, commas and brackets.
_FOR_A_NAME = 4
_FOR_A_VALUE = 3

_FOR_A_LINE = 64

MAX_CHARACTERS_OF_A_CALL = 2 * MAX_CHARACTERS
"""The same of all tools of a call and its answer together."""

MAX_DEPTH = 128
"""Most levels of dicts and lists in a schema."""

_CONTAINERS = (dict, list, tuple, Mapping)


def check_sizes_of_call(tools: object, answer: object) -> None:
    """Refuses tools and an answer whose schemas together take too long to be read.

    Raises:
        UnsupportedGrammarError: They are too large together; the message has the limit.
    """
    together = {"tools": tools, "answer": answer}
    # Each is looked at by itself later, so their own depth is not checked here.
    _check(
        "of all tools and the answer together", together, MAX_CHARACTERS_OF_A_CALL, 2 * MAX_DEPTH
    )


def check_size(of_what: str, schema: Mapping[str, Any]) -> int:
    """Refuses a schema that takes too long to be compiled, after looking at no more than the limit.

    Args:
        of_what: What the schema describes, for the message.
        schema: A JSON schema.

    Returns:
        Its size, in the characters of `MAX_CHARACTERS`.

    Raises:
        UnsupportedGrammarError: It is too large or nested too deeply; the message has the limit.
    """
    return _check(of_what, schema, MAX_CHARACTERS, MAX_DEPTH)


def _check(of_what: str, schema: Mapping[str, Any], most: int, deepest: int) -> int:
    # On the event loop, so it is quick, and makes few objects, of which Python would have to
    # collect the garbage.
    size, depth = 0, 0
    level: list[Collection[Any]] = [schema]
    while level:
        depth += 1
        below: list[Collection[Any]] = []
        for container in level:
            size += _own_size(container, below)
            if size > most:
                raise UnsupportedGrammarError(
                    f"The schema {of_what} has more than {most} characters, the limit. "
                    "Leave parts out, or use $ref for what is repeated."
                )
        if depth > deepest and any(level):
            raise UnsupportedGrammarError(
                f"The schema {of_what} is nested too deeply: more than {deepest} levels, the "
                "limit. Use $ref and $defs."
            )
        level = below
    return size


def _own_size(container: Collection[Any], inner: list[Collection[Any]]) -> int:
    """The size of a dict or list without the dicts and lists in it, which are added to `inner`."""
    size = _FOR_A_VALUE * len(container)
    values: Iterable[Any] = container
    if isinstance(container, dict | Mapping):  # a dict is known sooner
        size += _FOR_A_NAME * len(container)
        size += sum(len(name) for name in container if isinstance(name, str))
        values = container.values()
    for value in values:
        if isinstance(value, str):
            size += len(value) + _FOR_A_LINE * value.count("\n")
        elif isinstance(value, _CONTAINERS):
            inner.append(value)
    return size
