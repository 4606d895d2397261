"""The circumstances under which a preference applies: an immutable mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from amulet_integrations.profiles.characters import check_characters


class Conditions(Mapping[str, str]):
    """Names and the values they must have, such as ``{"task": "email"}``.

    It equals a dict of the same content, is hashable, and dumps as a plain dict.

    Args:
        conditions: Names to values.

    Raises:
        InvalidProfileError: A name or value holds control characters or lone surrogates.
    """

    __slots__ = ("_values",)

    def __init__(self, conditions: Mapping[str, str] | None = None) -> None:
        self._values = dict(conditions or {})
        for name, value in self._values.items():
            check_characters("a name in when", name)
            check_characters(f"when[{name[:80]!r}]", value)

    def met_by(self, context: Mapping[str, str]) -> bool:
        """Whether `context` gives every one of these names the value asked for."""
        return all(context.get(name) == value for name, value in self._values.items())

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
        """Reads a dict of strings to strings, and dumps one."""
        plain = handler.generate_schema(dict[str, str])
        return core_schema.no_info_after_validator_function(
            cls,
            plain,
            serialization=core_schema.plain_serializer_function_ser_schema(
                dict, return_schema=plain
            ),
        )
