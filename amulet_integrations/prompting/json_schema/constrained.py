"""JSON schemas made fit for decoding: what cannot be enforced is refused, what is loose is closed.

llguidance keeps a text to a schema, but it passes over some keywords in silence, and for others
its message does not say where they stand. So schemas are read here first. Every change made here
allows less than the schema did: what the grammar lets through is valid for the caller's schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.bounds import (
    ANYTHING_NAME,
    any_value,
    anything,
    bound_free_parts,
    bound_numbers,
    uses_anything,
)
from amulet_integrations.prompting.json_schema.format_patterns import FORMAT_PATTERNS
from amulet_integrations.prompting.json_schema.shape import (
    LISTS,
    MAPS,
    SINGLE,
    at,
    check_shape,
)

# How JSON is written: as `json.dumps` does it, which is what models have seen most of. Without
# \u escapes a name or a text can be written in one way only, so no property comes twice.
_GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": '"\\bfnrt',
}

_LEAVE_OUT = "Leave it out and check the finished value yourself"
_REFUSED = {
    "uniqueItems": f"{_LEAVE_OUT} (in Python: a list in place of a set)",
    "not": "Say what is allowed instead (enum, pattern, anyOf)",
    **dict.fromkeys(("if", "then", "else"), "Write the cases as anyOf"),
    **dict.fromkeys(("contains", "minContains", "maxContains"), "Use items or prefixItems"),
    "propertyNames": "Use patternProperties with additionalProperties false",
    **dict.fromkeys(
        ("dependentRequired", "dependentSchemas", "dependencies"), "Write the cases as anyOf"
    ),
    **dict.fromkeys(
        ("unevaluatedProperties", "unevaluatedItems"), "Use additionalProperties or items"
    ),
    **dict.fromkeys(("$dynamicRef", "$recursiveRef"), "Use $ref"),
    **dict.fromkeys(("contentEncoding", "contentMediaType", "contentSchema"), "Use pattern"),
    "divisibleBy": "Use multipleOf",
    "disallow": "Say what is allowed instead",
    "extends": "Use allOf",
}

_ENFORCED_FORMATS = frozenset(
    {"email", "hostname", "ipv4", "ipv6", "uuid", "uri", *FORMAT_PATTERNS}
)
# Formats that any text has; they tell readers what it is meant for.
_MERE_HINTS = frozenset(
    {"path", "file-path", "directory-path", "password", "binary", "text", "textarea", "multi-line"}
)

_IN_PLACE = ("allOf", "anyOf", "oneOf")
# How Pydantic says that a Decimal has a digit; llguidance does not look ahead.
_HAS_A_DIGIT = "^(?!^[-+.]*$)"
_SAYS_ENOUGH = frozenset({"minLength", "enum", "const", "pattern", "format", "$ref"})


def json_rule(schema: Mapping[str, Any]) -> str:
    """A Lark expression for JSON of a schema that has been through `constrained_schema`."""
    return f"%json {json.dumps({**schema, 'x-guidance': _GUIDANCE})}"


def constrained_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that can be enforced while decoding, and allows nothing that `schema` does not.

    Objects that list their properties have no others, unless `additionalProperties` (or a
    combination by allOf and the like) says so. Required strings have at least one character,
    unless `minLength`, `pattern` and the like say otherwise. Dates are days of the calendar.
    Numbers that are no integers lie between -9e18 and 9e18, and are written without exponents.

    Args:
        schema: Any JSON schema: of Pydantic, of a TypedDict, or written by hand.

    Returns:
        A new schema.

    Raises:
        UnsupportedGrammarError: It is no schema, or has a keyword or a format that cannot be
            enforced; the message says where it stands and what to do.
    """
    with _refusing_depths():
        return _constrained(dict(schema))


def _constrained(schema: dict[str, Any]) -> dict[str, Any]:
    check_shape(schema)
    fitting = _Fitting(
        whole=schema,
        combined=frozenset(_combined_references(schema)),
        bounds_free_parts=not _has_inner_ids(schema),
    )
    fitted: dict[str, Any] = fitting.fit(schema, "#", alone=True)
    if uses_anything(fitted):
        fitted["$defs"] = {**fitted.get("$defs", {}), ANYTHING_NAME: anything()}
    return fitted


def arguments_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`constrained_schema` for a tool's arguments: a tool that lists none takes none.

    Args:
        parameters: The tool's JSON schema.

    Returns:
        A new schema.

    Raises:
        UnsupportedGrammarError: As `constrained_schema`.
    """
    with _refusing_depths():
        schema = dict(parameters)
        check_shape(schema)
        if "object" in schema.get("type", "object"):  # it is one type, or a list of them
            schema["type"] = "object"
        if not _says_names(schema):
            schema["additionalProperties"] = False
        return _constrained(schema)


@contextmanager
def _refusing_depths() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise UnsupportedGrammarError(
            "The schema is nested too deeply to be read. Use $ref and $defs."
        ) from None


@dataclass(frozen=True)
class _Fitting:
    """Rewrites one schema.

    Attributes:
        whole: All of it, for its references.
        combined: References that stand for a part of an object only.
        bounds_free_parts: Whether what is not described is bounded all the same.
    """

    whole: dict[str, Any]
    combined: frozenset[str]
    bounds_free_parts: bool

    def fit(self, schema: Any, pointer: str, *, alone: bool) -> Any:
        """Rewrites the schema at `pointer`; `alone` says that it describes the whole of a value."""
        if not isinstance(schema, dict):
            return any_value() if schema is True and self.bounds_free_parts else schema
        schema = self._with_properties(schema)
        _check_keywords(schema, pointer)
        alone = alone and pointer not in self.combined
        parts_alone = alone and _describing_parts(schema) <= 1
        fitted = {
            key: self._fit_value(key, value, at(pointer, key), alone=parts_alone)
            for key, value in schema.items()
            if key not in _REFUSED  # only where it says nothing
        }
        _narrow_string(fitted)
        _narrow_object(fitted, close=parts_alone)
        _check_count(fitted, pointer)
        bound_numbers(fitted)
        if parts_alone and self.bounds_free_parts:
            bound_free_parts(fitted)
        return fitted

    def _with_properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of a map whose names are an enum's, as one that lists its properties."""
        names = schema.get("propertyNames")
        if isinstance(names, dict) and "$ref" in names:
            names = self._referred(names["$ref"])
        listed = names.get("enum") if isinstance(names, dict) else None
        if not isinstance(listed, list) or {"properties", "patternProperties"} & schema.keys():
            return schema
        listed = [name for name in listed if isinstance(name, str)]  # no other is a name
        described = {key: value for key, value in schema.items() if key != "propertyNames"}
        value = described.get("additionalProperties", True)
        described |= {"properties": dict.fromkeys(listed, value), "additionalProperties": False}
        check_shape({"properties": described["properties"]})
        return described

    def _referred(self, reference: str) -> Any:
        """What a reference into the same document stands for, where that is plain to see."""
        found: Any = self.whole
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _fit_value(self, key: str, value: Any, pointer: str, *, alone: bool) -> Any:
        alone = alone if key in _IN_PLACE else True
        if key in MAPS and isinstance(value, dict):
            return {
                name: self.fit(inner, at(pointer, name), alone=True)
                for name, inner in value.items()
            }
        if (key in LISTS or key == "items") and isinstance(value, list | tuple):
            return [
                self.fit(inner, f"{pointer}/{index}", alone=alone)
                for index, inner in enumerate(value)
            ]
        return self.fit(value, pointer, alone=True) if key in SINGLE else value


def _check_keywords(schema: dict[str, Any], pointer: str) -> None:
    for keyword, remedy in _REFUSED.items():
        if schema.get(keyword, False) is not False:
            raise UnsupportedGrammarError(
                f"The schema has {keyword!r} at {pointer}, which cannot be enforced while "
                f"decoding. {remedy}."
            )
    given = schema.get("format")
    if schema.get("type", "string") == "string" and given is not None:
        _check_format(given, pointer)


def _check_format(given: str, pointer: str) -> None:
    if given not in _ENFORCED_FORMATS | _MERE_HINTS:
        raise UnsupportedGrammarError(
            f"The schema has the format {given!r} at {pointer}, which cannot be enforced while "
            f"decoding. Use a pattern, or one of: {', '.join(sorted(_ENFORCED_FORMATS))}."
        )


def _check_count(schema: dict[str, Any], pointer: str) -> None:
    """Llguidance counts a property that is written twice as two, where names are free."""
    least = schema.get("minProperties", 0)
    free = schema.get("additionalProperties") is not False or "patternProperties" in schema
    if least > max(1, len(schema.get("required", ()))) and free:
        raise UnsupportedGrammarError(
            f"The schema has minProperties={least} at {pointer} with names that are free, which "
            "cannot be enforced while decoding: a name might be written twice. Name the "
            "properties, or leave it out."
        )


def _narrow_string(schema: dict[str, Any]) -> None:
    given = schema.get("format")
    if given in _MERE_HINTS and schema.get("type", "string") == "string":
        del schema["format"]
    elif given in FORMAT_PATTERNS and "pattern" not in schema:
        del schema["format"]
        schema["pattern"] = FORMAT_PATTERNS[given]
    elif schema.get("pattern", "").startswith(_HAS_A_DIGIT):
        schema["pattern"] = "^" + schema["pattern"].removeprefix(_HAS_A_DIGIT)
        schema["allOf"] = [*schema.get("allOf", ()), {"pattern": "[0-9]"}]


def _narrow_object(schema: dict[str, Any], *, close: bool) -> None:
    if not (_lists_properties(schema) or schema.get("patternProperties")):
        return
    if not {"type", "enum", "const"} & schema.keys():
        schema["type"] = "object"
    if close:
        schema.setdefault("additionalProperties", False)
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if _may_be_empty(properties.get(name)):
            properties[name] = {**properties[name], "minLength": 1}


def _may_be_empty(schema: Any) -> bool:
    return (
        isinstance(schema, dict)
        and schema.get("type") == "string"
        and not _SAYS_ENOUGH & schema.keys()
        and schema.get("maxLength") != 0
    )


def _lists_properties(schema: Any) -> bool:
    return bool(isinstance(schema.get("properties"), dict) and schema["properties"])


def _describing_parts(schema: dict[str, Any]) -> int:
    """How many parts of a schema say which properties an object has."""
    return (
        _lists_properties(schema)
        + ("$ref" in schema)
        + sum(map(_describes, schema.get("allOf", ())))
        + any(map(_describes, schema.get("anyOf", ())))
        + any(map(_describes, schema.get("oneOf", ())))
    )


def _describes(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        "patternProperties" in schema or _describing_parts(schema) > 0
    )


def _combined_references(schema: Any, *, combined: bool = False) -> Iterator[str]:
    """The references that are one of several parts that describe the same object."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _combined_references(inner, combined=combined)
    elif isinstance(schema, dict):
        combined = combined or _describing_parts(schema) > 1
        reference = schema.get("$ref")
        if combined and isinstance(reference, str):
            yield reference
        for key, value in schema.items():
            if key in MAPS and isinstance(value, dict):
                yield from _combined_references(list(value.values()))
            elif key in _IN_PLACE:
                yield from _combined_references(value, combined=combined)
            elif key in SINGLE or key == "prefixItems":
                yield from _combined_references(value)


def _says_names(schema: Any) -> bool:
    """Whether a schema says what properties an object has, by itself or in its parts."""
    return isinstance(schema, dict) and (
        _lists_properties(schema)
        or not schema.keys().isdisjoint({"$ref", "patternProperties", "propertyNames"})
        or "additionalProperties" in schema
        or any(_says_names(part) for key in _IN_PLACE for part in schema.get(key, ()))
    )


def _has_inner_ids(schema: Any, *, inner: bool = False) -> bool:
    """Whether references may be relative to something else than the whole."""
    if isinstance(schema, list | tuple):
        return any(_has_inner_ids(part, inner=True) for part in schema)
    if not isinstance(schema, dict):
        return False
    return (inner and any(isinstance(schema.get(key), str) for key in ("$id", "id"))) or any(
        _has_inner_ids(part, inner=True) for part in schema.values()
    )
