"""The context of a call, and the conditions under which a preference applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from amulet_integrations.errors import InvalidProfileError

from .field_types import check_characters, check_string

MOST_ENTRIES = 64
"""Most names of such a mapping."""


class ContextValues(Mapping[str, str]):
    """Immutable names and values, such as ``{"topic": "health"}``.

    It equals a dict of the same contents, is hashable, and is dumped as a plain dict.

    Args:
        values: At most 64 names with their values, all of them strings of at most 256 characters.

    Raises:
        InvalidProfileError: `values` is no mapping of strings to strings, has too many entries, or
            a string is too long or contains control characters or lone surrogates.
    """

    __slots__ = ("_values",)

    field: ClassVar[str] = "context"
    """The name of the field that has the values, for messages."""

    def __init__(self, values: Mapping[str, str] = MappingProxyType({})) -> None:
        field, given = self.field, cast("object", values)
        if not isinstance(given, Mapping):
            raise InvalidProfileError(
                f"{field} is a {type(given).__name__}; give a dict of names and values, such "
                'as {"topic": "health"}.'
            )
        if len(given) > MOST_ENTRIES:
            raise InvalidProfileError(
                f"{field} has {len(given):,} entries; at most {MOST_ENTRIES} are allowed."
            )
        for name, value in given.items():
            for what, text in ((f"a name in {field}", name), (f"{field}[{name!r:.82}]", value)):
                check_characters(what, check_string(what, text))
        self._values: dict[str, str] = dict(given)

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
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validates a mapping of strings to strings, and dumps a dict."""
        plain = handler.generate_schema(dict[str, str])
        return core_schema.no_info_plain_validator_function(
            cls,
            json_schema_input_schema=plain,
            serialization=core_schema.plain_serializer_function_ser_schema(
                dict, return_schema=plain
            ),
        )


class Conditions(ContextValues):
    """The values that a preference needs in the context of the call: the field `when`."""

    __slots__ = ()
    field = "when"

    def unmet(self, context: Mapping[str, str]) -> tuple[str, ...]:
        """The names for which `context` does not have the needed value."""
        return tuple(name for name, value in self.items() if context.get(name) != value)


class PreferenceContext(ContextValues):
    """What a call is about: ``preference_context={"topic": "health", "locale": "de"}``."""

    __slots__ = ()
    field = "preference_context"

    def over(self, other: PreferenceContext) -> PreferenceContext:
        """Merges both. Where both have a name, the value of this one is taken."""
        if not (self and other):
            return self or other
        return PreferenceContext({**other, **self})
