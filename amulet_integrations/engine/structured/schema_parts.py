"""The parts of a grammar, of which each describes values of its own.

llguidance takes long where many patterns, or steps of numbers, describe one value. In most schemas
each property has its own, however many properties there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

LITERAL = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|/(?:[^/\\\n]|\\.)+/')
"""A comment, a string or a pattern of Lark, in which nothing else counts."""

_LITERAL_OR_SCHEMA = re.compile(rf"{LITERAL.pattern}|(?P<schema>%json\s*)")
_DESCRIPTIONS = {"title", "description", "default", "examples", "deprecated", "x-guidance"}
_BY_NAME = {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
# Each describes the value that the schema around it describes, too.
_LISTS_FOR_ONE_VALUE = {"allOf", "anyOf", "oneOf"}
_FOR_ONE_VALUE = {
    *_LISTS_FOR_ONE_VALUE,
    *("if", "then", "else", "not", "$ref", "dependentSchemas", "patternProperties"),
}
_NULL = {"type": "null"}
_NOT_FOR_THE_VALUE = {*_FOR_ONE_VALUE, *_DESCRIPTIONS, "$defs", "definitions"}


def parts_of_lark(text: str) -> Iterator[str]:
    """The parts of a text of Lark: each schema's, as `parts_of_schema`, and the rest as one."""
    decoder, rest, rest_starts, end = json.JSONDecoder(), list[str](), 0, 0
    while found := _LITERAL_OR_SCHEMA.search(text, end):
        end = found.end()
        if found["schema"]:
            rest.append(text[rest_starts:end])
            try:
                schema, end = decoder.raw_decode(text, end)
            except (ValueError, RecursionError):
                continue  # llguidance will say what is wrong; what follows counts as rules
            finally:
                rest_starts = end
            yield from parts_of_schema(schema)
    yield "".join([*rest, text[rest_starts:]])


def parts_of_schema(schema: Any) -> list[str]:
    """The parts of a JSON schema, as JSON. What may describe one value is in one part.

    Titles and descriptions are left out where they do no harm.
    """
    try:
        parts = list(_parts(schema))
    except RecursionError:
        return [str(schema)]
    if any('"$ref"' in part for part in parts):
        return [json.dumps(schema)]
    return parts


def _parts(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each)
    if not isinstance(schema, dict):
        return
    if _has_several_for_one_value(schema):
        yield json.dumps(schema)
        return
    own: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _BY_NAME and isinstance(value, dict):
            own[name] = list(value)
            yield from _parts(list(value.values()))
        else:
            yield from _parts(value)
            if name not in {*_DESCRIPTIONS, "$ref"}:
                own[name] = _without_schemas(value)
    yield json.dumps(own)


def _without_schemas(value: Any) -> Any:
    if isinstance(value, dict):
        return None
    return [it for it in value if not isinstance(it, dict)] if isinstance(value, list) else value


def _has_several_for_one_value(schema: dict[str, Any]) -> bool:
    applied = [name for name in _FOR_ONE_VALUE if name in schema]
    count = 0
    for name in applied:
        value = schema[name]
        is_list = name in _LISTS_FOR_ONE_VALUE and isinstance(value, list)
        count += sum(it != _NULL for it in value) if is_list else 1
    return bool(applied) and count + bool(schema.keys() - _NOT_FOR_THE_VALUE) > 1
