r"""Regular expressions of schemas: what grammars enforce of them, and how values are checked.

llguidance takes a class that contains every control character for one that contains `"` and `\`,
too: `[^"]` would match a quote. And it passes over a control character that stands alone. No
grammar of ours writes those, so classes do without them, and llguidance reads them as they stand.

`\d` and `\w` are ASCII to llguidance, but more to Python and Pydantic. Their opposites leave out
what is a digit or a letter to any of them.

Where several patterns describe one text, llguidance looks whether any text matches them all.
Nothing bounds its time: it gives up on half a dozen at once, but on a dozen only after minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.rewriting.cases import CONDITIONS

from .references import resolve
from .shape import DEFINITIONS, map_subschemas
from .unenforced import grammar_error

_CODE_POINT = regex.compile(r"(?<!\\)((?:\\\\)*)\\[xu]\{([0-9a-fA-F]{1,6})\}")
_MOST_OF_A_TEXT = 8
_LOOKAROUND = regex.compile(r"\(\?<?[=!]")
# A character with what makes it one: an escape, a class of characters, or the character alone.
_PIECE = regex.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", regex.DOTALL)
# An escape with what belongs to it, or any other character. Classes in brackets begin with "[".
_HEX = r"[\da-fA-F]"
_UNIT = regex.compile(
    rf"\\[pP](?:\{{[^}}]*\}}|.)|\\[xuU]\{{[^}}]*\}}|\\x{_HEX}{{2}}|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}|\\.|.",
    regex.DOTALL,
)
_CONTROLS = r"[\x00-\x07\x0b\x0e-\x1f\x7f]"  # those that JSON writes only as \u escapes
_CONTROL = regex.compile(_CONTROLS)
_EVERY_CONTROL = tuple(filter(_CONTROL.fullmatch, map(chr, range(128))))
_READS_BLANKS = regex.compile(r"\(\?[a-zA-Z]*x")
_DIGITS = r"\p{Nd}"
_LETTERS = r"\p{Alphabetic}\p{M}\p{N}\p{Pc}\p{Join_Control}"
_WIDE = {r"\d": _DIGITS, r"\w": _LETTERS}
_OPPOSITES = {r"\D": f"[^{_DIGITS}]", r"\W": f"[^{_LETTERS}]"}
_NARROW = regex.compile(r"(?<!\\)(?:\\\\)*\\[dDwW]")


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
def enforced_pattern(pattern: str, pointer: str) -> str | None:
    """The regular expression that a grammar enforces in place of another one.

    Args:
        pattern: The regular expression.
        pointer: The JSON pointer to its schema, for the message.

    Returns:
        A regular expression that matches no more than `pattern`; None where there is none.

    Raises:
        UnsupportedGrammarError: It is none that a finished value could be checked by, either.
    """
    written = _with_plain_classes(pattern) if _can_read(pattern) else None
    if written is not None and (written == pattern or _can_read(written)):
        return written
    check_pattern(pattern, pointer)
    return None


def _can_read(pattern: str) -> bool:
    return not grammar_error({"type": "string", "pattern": pattern})


def depends_on_reader(pattern: str) -> bool:
    r"""Whether a regular expression has `\d` or `\w`: ASCII to some readers, more to others."""
    return _NARROW.search(pattern) is not None


def _with_plain_classes(pattern: str) -> str | None:
    """A pattern with its classes written for llguidance; None where they cannot be told."""
    return None if _READS_BLANKS.search(pattern) else "".join(map(_plain, _units(pattern)))


def _units(pattern: str) -> Iterator[str]:
    """A pattern in pieces: whole classes in brackets, escapes and single characters."""
    at = 0
    while at < len(pattern):
        end = _end_of_class(pattern, at) if pattern[at] == "[" else _unit(pattern, at)
        yield pattern[at:end]
        at = end


def _unit(pattern: str, at: int) -> int:
    found = _UNIT.match(pattern, at)
    return found.end() if found else at + 1


def _end_of_class(pattern: str, at: int) -> int:
    """Where the class in brackets ends that begins at a place."""
    depth = 0
    while at < len(pattern):
        if pattern[at] == "[":
            depth += 1
            at += 2 if pattern[at + 1 : at + 2] == "^" else 1
            at += pattern[at : at + 1] == "]"  # the first one stands for itself
        elif pattern[at] == "]":
            depth -= 1
            at += 1
            if not depth:
                break
        else:
            at = _unit(pattern, at)
    return at


@lru_cache(maxsize=512)
def _plain(unit: str) -> str:
    if unit in _OPPOSITES:
        return _OPPOSITES[unit]
    if unit.startswith("[") and "[" not in unit[1:]:
        wide = _WIDE if unit.startswith("[^") else _OPPOSITES
        unit = "".join(wide.get(it, it) for it in map(str, _UNIT.findall(unit)))
    return unit if _is_harmless(unit) else f"[{unit}--{_CONTROLS}]"


def _is_harmless(unit: str) -> bool:
    """Whether llguidance reads a piece of a pattern as it is meant."""
    if not unit.startswith(("[", "\\")):
        return _CONTROL.fullmatch(unit) is None
    try:
        found = compiled_pattern(unit).fullmatch
    except regex.error:
        return not unit.startswith(("[", "\\p", "\\P"))
    has_quotes = bool(found('"') and found("\\"))
    return has_quotes or not any(map(found, _EVERY_CONTROL))


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
        unit = _PIECE.match(pattern, at)
        assert unit is not None  # noqa: S101 - every character is a unit
        at = unit.end()
        if not depth:
            kept.append(unit.group())
        elif unit.group() in "()":
            depth += 1 if unit.group() == "(" else -1
    return "".join(kept)


def combines_many_patterns(schema: dict[str, Any]) -> bool:
    """Whether more patterns may describe one text than llguidance can combine in time.

    Where an object is described in parts, patterns of its different texts count together.
    """
    counter = _PatternCounter(schema)
    _ = counter.count(schema)
    return counter.most > _MOST_OF_A_TEXT


class _Patterns(NamedTuple):
    """The patterns and formats of a value.

    Attributes:
        most: How many of them one text in the value may have at most.
        distinct: All of them. One that is there several times is compiled once.
    """

    most: int = 0
    distinct: frozenset[tuple[str, str]] = frozenset()


class _PatternCounter:
    """Counts patterns and formats.

    Args:
        document: The whole schema, to which references point.

    Attributes:
        most: The most for one text, of all schemas that were counted.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.most = 0
        self._document = document
        self._of_references: dict[str, _Patterns] = {}

    def count(self, schema: Any) -> _Patterns:
        """The patterns and formats of a value."""
        if not isinstance(schema, dict):
            return _Patterns()
        inside: defaultdict[str, list[_Patterns]] = defaultdict(list)

        def visit(inner: Any, keyword: str, _pointer: str) -> None:
            if keyword not in DEFINITIONS:
                inside[keyword].append(self.count(inner))

        map_subschemas(schema, visit)
        own = frozenset(
            (name, str(schema[name])) for name in ("pattern", "format") if name in schema
        )
        behind = self._behind(schema)
        distinct = own.union(
            behind.distinct, *(it.distinct for found in inside.values() for it in found)
        )
        counts = {keyword: [it.most for it in found] for keyword, found in inside.items()}
        # The same text may be described by each of these, but by only one of the others.
        parts = [sum(counts.pop(keyword, ())) for keyword in ("allOf", *CONDITIONS)]
        parts += [max(counts.pop(keyword, (0,))) for keyword in ("anyOf", "patternProperties")]
        parts.append(sum(sorted(counts.pop("oneOf", ()))[-2:]))  # which are kept apart in pairs
        together = sum(parts) + max(len(own), *map(max, counts.values()), 0) + behind.most
        found = _Patterns(min(together, len(distinct)), distinct)
        self.most = max(self.most, found.most)
        return found

    def _behind(self, schema: dict[str, Any]) -> _Patterns:
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return _Patterns()
        if reference not in self._of_references:
            self._of_references[reference] = _Patterns()  # until it is known, for circles
            self._of_references[reference] = self.count(resolve(self._document, reference))
        return self._of_references[reference]
