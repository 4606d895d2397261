"""From a JSON schema to a grammar that a model's answer keeps to.

`json_rule` is the rule of a grammar, which `ToolFormat.json_grammar` (tools/formats.py) completes
and the engine compiles (engine/structured/grammar.py).

llguidance keeps a text to a schema, but it ignores some keywords silently, and its messages about
others do not say where they stand. So schemas are checked here first. Every change made here allows
less than the schema did: what the grammar accepts is valid for the caller's schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from amulet_integrations.errors import UnsupportedGrammarError

from .bounds import (
    ANY_JSON_NAME,
    any_json,
    any_json_reference,
    bound_free_parts,
    bound_numbers,
    uses_any_json,
)
from .format_patterns import FORMAT_PATTERNS
from .object_parts import (
    IN_PLACE,
    combined_references,
    count_object_parts,
    lists_properties,
    names_properties,
)
from .shape import check_shape, iter_objects, map_subschemas

# JSON is written as `json.dumps` does it, which models have seen most. Without \u escapes a text
# can be written in only one way, so no property comes twice under two spellings.
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
# Formats that every text satisfies; they describe its purpose.
_DESCRIPTIVE_FORMATS = frozenset(
    {"path", "file-path", "directory-path", "password", "binary", "text", "textarea", "multi-line"}
)

# Pydantic's way to require a digit in a Decimal; llguidance does not support lookahead.
_DIGIT_LOOKAHEAD = "^(?!^[-+.]*$)"
# A string with one of these may be empty if they allow it.
_STRING_CONSTRAINTS = frozenset({"minLength", "enum", "const", "pattern", "format", "$ref"})


def json_rule(schema: Mapping[str, Any]) -> str:
    """The Lark expression of JSON that follows a schema, which `constrained_schema` has adapted."""
    return f"%json {json.dumps({**schema, 'x-guidance': _GUIDANCE})}"


def constrained_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that can be enforced while decoding and allows nothing that `schema` does not.

    Objects that list their properties have no others, unless `additionalProperties` (or a
    combination by allOf and the like) allows them. Required strings have at least one character,
    unless `minLength`, `pattern` and the like allow none. Dates are days of the calendar. Numbers
    that are not integers lie between -9e18 and 9e18, and are written without exponents.

    Args:
        schema: Any JSON schema: of Pydantic, of a TypedDict, or written by hand.

    Returns:
        A new schema.

    Raises:
        UnsupportedGrammarError: It is not a schema, or has a keyword or a format that cannot be
            enforced. The message contains the JSON pointer to it and a remedy.
    """
    return _constrain(dict(schema))


def arguments_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`constrained_schema` for a tool's arguments: a tool that lists no arguments takes none.

    Args:
        parameters: The tool's JSON schema.

    Returns:
        A new schema.

    Raises:
        UnsupportedGrammarError: As for `constrained_schema`.
    """
    return _constrain(dict(parameters), of_arguments=True)


def _constrain(schema: dict[str, Any], *, of_arguments: bool = False) -> dict[str, Any]:
    try:
        check_shape(schema)
        if of_arguments:
            _describe_arguments(schema)
        return _rewrite_document(schema)
    except RecursionError:
        raise UnsupportedGrammarError(
            "The schema is nested too deeply to be read. Use $ref and $defs."
        ) from None


def _describe_arguments(schema: dict[str, Any]) -> None:
    if "object" in schema.get("type", "object"):  # "type" is one type, or a list of them
        schema["type"] = "object"
    if not names_properties(schema):
        schema["additionalProperties"] = False


def _rewrite_document(schema: dict[str, Any]) -> dict[str, Any]:
    # With an id inside, references may be relative to it instead of the whole schema.
    has_inner_ids = any(
        isinstance(inner.get(key), str)
        for inner in islice(iter_objects(schema), 1, None)
        for key in ("$id", "id")
    )
    rewriter = _Rewriter(
        document=schema,
        combined=frozenset(combined_references(schema)),
        bounds_free_parts=not has_inner_ids,
    )
    constrained: dict[str, Any] = rewriter.rewrite(schema, "#", is_whole=True)
    if uses_any_json(constrained):
        constrained["$defs"] = {**constrained.get("$defs", {}), ANY_JSON_NAME: any_json()}
    return constrained


@dataclass(frozen=True)
class _Rewriter:
    """Adapts the schemas of one document.

    Attributes:
        document: The whole schema, to which references point.
        combined: The references that stand for only a part of an object.
        bounds_free_parts: Whether numbers are bounded in what the schema does not describe.
    """

    document: dict[str, Any]
    combined: frozenset[str]
    bounds_free_parts: bool

    def rewrite(self, schema: Any, pointer: str, *, is_whole: bool) -> Any:
        """Adapts the schema at `pointer`.

        Args:
            schema: The schema.
            pointer: The JSON pointer to it.
            is_whole: Whether it describes its value alone, and not together with other schemas.
        """
        if not isinstance(schema, dict):
            return any_json_reference() if schema is True and self.bounds_free_parts else schema
        schema = self._list_enum_names(schema)
        _check_keywords(schema, pointer)
        is_whole = is_whole and pointer not in self.combined and count_object_parts(schema) <= 1

        def rewrite_inner(inner: Any, keyword: str, place: str) -> Any:
            return self.rewrite(inner, place, is_whole=is_whole or keyword not in IN_PLACE)

        # The refused keywords that are left do not restrict anything.
        kept = {key: value for key, value in schema.items() if key not in _REFUSED}
        rewritten = map_subschemas(kept, rewrite_inner, pointer)
        _narrow_string(rewritten)
        _narrow_object(rewritten, close=is_whole)
        _check_count(rewritten, pointer)
        bound_numbers(rewritten)
        if is_whole and self.bounds_free_parts:
            bound_free_parts(rewritten)
        return rewritten

    def _list_enum_names(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Rewrites a map whose names come from an enum as an object that lists its properties."""
        names = schema.get("propertyNames")
        if isinstance(names, dict) and "$ref" in names:
            names = self._resolve(names["$ref"])
        enum = names.get("enum") if isinstance(names, dict) else None
        if not isinstance(enum, list) or {"properties", "patternProperties"} & schema.keys():
            return schema
        listed = {key: value for key, value in schema.items() if key != "propertyNames"}
        value = listed.get("additionalProperties", True)
        properties = {name: value for name in enum if isinstance(name, str)}
        check_shape({"properties": properties})
        return {**listed, "properties": properties, "additionalProperties": False}

    def _resolve(self, reference: str) -> Any:
        """What a reference within the document points to; None if that is not plain to see."""
        found: Any = self.document
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _check_keywords(schema: dict[str, Any], pointer: str) -> None:
    for keyword, remedy in _REFUSED.items():
        if schema.get(keyword, False) is not False:
            raise UnsupportedGrammarError(
                f"The schema has {keyword!r} at {pointer}, which cannot be enforced while "
                f"decoding. {remedy}."
            )
    given = schema.get("format")
    is_text = schema.get("type", "string") == "string" and given is not None
    if is_text and given not in _ENFORCED_FORMATS | _DESCRIPTIVE_FORMATS:
        raise UnsupportedGrammarError(
            f"The schema has the format {given!r} at {pointer}, which cannot be enforced while "
            f"decoding. Use a pattern, or one of: {', '.join(sorted(_ENFORCED_FORMATS))}."
        )


def _check_count(schema: dict[str, Any], pointer: str) -> None:
    """Refuses counts of free names: llguidance counts a property that is written twice as two."""
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
    if given in _DESCRIPTIVE_FORMATS and schema.get("type", "string") == "string":
        del schema["format"]
    elif given in FORMAT_PATTERNS and "pattern" not in schema:
        del schema["format"]
        schema["pattern"] = FORMAT_PATTERNS[given]
    elif schema.get("pattern", "").startswith(_DIGIT_LOOKAHEAD):
        schema["pattern"] = "^" + schema["pattern"].removeprefix(_DIGIT_LOOKAHEAD)
        schema["allOf"] = [*schema.get("allOf", ()), {"pattern": "[0-9]"}]


def _narrow_object(schema: dict[str, Any], *, close: bool) -> None:
    if not (lists_properties(schema) or schema.get("patternProperties")):
        return
    if not {"type", "enum", "const"} & schema.keys():
        schema["type"] = "object"
    if close:
        schema.setdefault("additionalProperties", False)
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if _is_plain_string(properties.get(name)):
            properties[name] = {**properties[name], "minLength": 1}


def _is_plain_string(schema: Any) -> bool:
    return (
        isinstance(schema, dict)
        and schema.get("type") == "string"
        and not _STRING_CONSTRAINTS & schema.keys()
        and schema.get("maxLength") != 0
    )
