"""Regular expressions of schemas, as finished values are checked by them."""

from __future__ import annotations

from functools import lru_cache

import regex

from amulet_integrations.errors import UnsupportedGrammarError

_CODE_POINT = regex.compile(r"(?<!\\)((?:\\\\)*)\\[xu]\{([0-9a-fA-F]{1,6})\}")
_LOOKAROUND = regex.compile(r"\(\?<?[=!]")
# A character with what makes it one: an escape, a class of characters, or the character alone.
_UNIT = regex.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", regex.DOTALL)


def check_pattern(pattern: str, pointer: str) -> None:
    """Refuses a regular expression that a finished value could not be checked by.

    Raises:
        UnsupportedGrammarError: The message names it and its place.
    """
    try:
        compiled_pattern(pattern)
    except regex.error as invalid:
        raise UnsupportedGrammarError(
            f"The schema has the pattern {pattern[:80]!r} at {pointer}, which is no regular "
            f"expression: {invalid}. Correct it."
        ) from None


@lru_cache(maxsize=512)
def compiled_pattern(pattern: str) -> regex.Pattern[str]:
    """A regular expression, as a grammar reads it where it can.

    Raises:
        regex.error: It is none.
    """
    written = _CODE_POINT.sub(lambda found: f"{found[1]}\\U{int(found[2], 16):08x}", pattern)
    try:
        return regex.compile(written, regex.VERSION1)  # has sets in sets, as grammars have
    except regex.error:
        return regex.compile(written, regex.VERSION0)


def without_lookaround(pattern: str) -> str:
    """A regular expression without its look-around, so that it allows more texts."""
    kept: list[str] = []
    at = depth = 0  # depth counts the groups that are open in a look-around
    while at < len(pattern):
        if not depth and (found := _LOOKAROUND.match(pattern, at)):
            depth, at = 1, found.end()
            continue
        unit = _UNIT.match(pattern, at)
        assert unit is not None  # noqa: S101 - every character is a unit
        at = unit.end()
        if not depth:
            kept.append(unit.group())
        elif unit.group() in "()":
            depth += 1 if unit.group() == "(" else -1
    return "".join(kept)
