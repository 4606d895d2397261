"""The circumstances of a call, and those under which a preference applies: immutable mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.characters import LONGEST_LABEL, check_characters

MOST_ENTRIES = 64
"""Most names of such a mapping."""


class Circumstances(Mapping[str, str]):
    """Names and values, both strings of at most 256 characters, such as ``{"topic": "health"}``.

    It equals a dict of the same content, is hashable, and dumps as a plain dict.

    Args:
        circumstances: Names to values.

    Raises:
        InvalidProfileError: It is no mapping of strings to strings, or one of them is too long, or
            holds control characters or lone surrogates; or there are more than 64.
    """

    __slots__ = ("_values",)

    field: ClassVar[str] = "circumstances"
    """The field that holds it, for messages."""

    def __init__(self, circumstances: Mapping[str, str] | None = None) -> None:
        self._values = _checked(self.field, {} if circumstances is None else circumstances)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)

    @classmethod
    def _read(cls, given: Any) -> Self:
        if given is None:  # which the constructor takes for nothing told
            raise InvalidProfileError(f"{cls.field} is None; give a dict, or leave it out.")
        return cls(given)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads a mapping of strings to strings, and dumps a dict."""
        plain = handler.generate_schema(dict[str, str])
        return core_schema.no_info_plain_validator_function(
            cls._read,
            json_schema_input_schema=plain,
            serialization=core_schema.plain_serializer_function_ser_schema(
                dict, return_schema=plain
            ),
        )


class Conditions(Circumstances):
    """What a preference asks of the call: the field `when`."""

    __slots__ = ()
    field = "when"

    def unmet(self, context: Mapping[str, str]) -> tuple[str, ...]:
        """The names to which `context` does not give the value asked for."""
        return tuple(name for name, value in self.items() if context.get(name) != value)


class PreferenceContext(Circumstances):
    """What a call says about itself: ``preference_context={"topic": "health", "locale": "de"}``."""

    __slots__ = ()
    field = "preference_context"

    def over(self, other: PreferenceContext) -> PreferenceContext:
        """Both together; where both have a name, this one's value."""
        if not (self and other):
            return self or other
        return PreferenceContext({**other, **self})


def _checked(field: str, given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise InvalidProfileError(
            f"{field} is a {type(given).__name__}; give a dict of names and values, such as "
            '{"topic": "health"}.'
        )
    if len(given) > MOST_ENTRIES:
        raise InvalidProfileError(
            f"{field} has {len(given):,} entries; at most {MOST_ENTRIES} are allowed."
        )
    for name, value in given.items():
        _check_part(f"a name in {field}", name)
        _check_part(f"{field}[{name[:80]!r}]", value)
    return dict(given)


def _check_part(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidProfileError(f"{what} is a {type(text).__name__}; give a string.")
    if len(text) > LONGEST_LABEL:
        raise InvalidProfileError(
            f"{what} has {len(text):,} characters; at most {LONGEST_LABEL} are allowed."
        )
    check_characters(what, text)
