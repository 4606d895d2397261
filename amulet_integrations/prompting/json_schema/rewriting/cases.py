"""Conditions in a schema (`if`, `dependentRequired` and the like), written as alternatives.

The alternatives together allow what the condition allows. One of them may allow more, where what a
condition excludes cannot be said without `not`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amulet_integrations.prompting.json_schema.object_parts import property_names
from amulet_integrations.prompting.json_schema.shape import listed_values, refuse

Schema = dict[str, Any]

CONDITIONS = ("if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies")
"""The keywords that are written as cases."""


@dataclass(frozen=True)
class Cases:
    """What becomes of one condition.

    Attributes:
        keyword: The keyword of the condition.
        alternatives: Schemas, one of which the value follows; False allows nothing.
        exact: Whether they allow no more than the condition does.
    """

    keyword: str
    alternatives: tuple[Schema | bool, ...]
    exact: bool = True

    @property
    def names(self) -> set[str]:
        """The properties that the alternatives describe."""
        return set().union(*map(property_names, self.alternatives))

    def closed(self, listed: Mapping[str, Any]) -> list[Schema | bool]:
        """The alternatives, each without the properties that only others of them describe."""
        new = self.names - listed.keys()
        return [_without(case, new - property_names(case)) for case in self.alternatives]


def cases_of(schema: Schema, pointer: str) -> Iterator[Cases]:
    """The conditions of a schema as alternatives."""
    if "if" in schema and not schema.keys().isdisjoint({"then", "else"}):
        yield _conditional(schema)
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        for name, needed in schema.get(keyword, {}).items():
            yield Cases(keyword, (_present(name, needed, pointer), _absent(name)))


def _conditional(schema: Schema) -> Cases:
    condition, then, otherwise = (schema.get(key, True) for key in ("if", "then", "else"))
    if isinstance(condition, bool):
        return Cases("if", (_both(then if condition else otherwise),))
    opposite = _opposite(condition, schema)
    holds = _both(condition, then)
    if opposite is False:
        return Cases("if", (holds,))
    fails = _both(otherwise) if opposite is None else _both(opposite, otherwise)
    return Cases("if", (holds, fails), exact=opposite is not None)


def _opposite(condition: Schema, schema: Schema) -> Schema | bool | None:
    """When a condition does not hold; False for never, None where that cannot be said."""
    required = list(condition.get("required", ()))
    if condition.keys() == {"required"} and len(required) == 1:
        return _absent(required[0])
    properties = condition.get("properties", {})
    if not condition.keys() <= {"properties", "required", "type"} or len(properties) != 1:
        return None
    ((name, wanted),) = properties.items()
    values = listed_values(schema.get("properties", {}).get(name))
    excluded = listed_values(wanted)
    if values is None or excluded is None or required not in ([], [name]):
        return None
    left = [value for value in values if value not in excluded]
    if not left:
        return _absent(name) if required else False
    fails = {"properties": {name: {"enum": left}}}
    # Where the condition does not require the property, it holds without it.
    return fails if required else {**fails, "required": [name]}


def _present(name: str, needed: Any, pointer: str) -> Schema | bool:
    if isinstance(needed, list | tuple):
        if not all(isinstance(other, str) for other in needed):
            refuse(pointer, needed, "a list of names")
        return {"required": [name, *(other for other in needed if other != name)]}
    if not isinstance(needed, dict | bool):
        refuse(pointer, needed, "a schema or a list of names")
    return _both({"required": [name]}, needed)


def _absent(name: str) -> Schema:
    return {"properties": {name: False}}


def _both(*parts: Any) -> Schema | bool:
    """A schema of what follows all parts; False where one allows nothing."""
    described: list[Schema | bool] = [part for part in parts if part is not True]
    if False in described:
        return False
    if len(described) == 1:
        return described[0]
    return {"allOf": described} if described else {}


def _without(schema: Schema | bool, names: set[str]) -> Schema | bool:
    return _both({"properties": dict.fromkeys(sorted(names), False)}, schema) if names else schema
