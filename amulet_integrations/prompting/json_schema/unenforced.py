"""What a grammar cannot enforce of a schema; the finished value is checked for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

_CASES = "Write the cases as anyOf"
_NEWER = "install llguidance 1.8 or newer"
_REMEDIES = {
    "uniqueItems": "Leave it out (in Python: a list in place of a set)",
    "not": "Say what is allowed instead (enum, pattern, anyOf)",
    "if": _CASES,
    "oneOf": "Use anyOf",
    "contains": "Use items or prefixItems",
    "maxContains": "Use items or prefixItems",
    "propertyNames": "Use patternProperties with additionalProperties false",
    "pattern": "Write it without look-around and backreferences, and few for one text",
    "patternProperties": "Write them without look-around and backreferences",
    "minProperties": "Name the properties",
    "maxProperties": "Name the properties",
    "multipleOf": f"Write one multipleOf, of few digits, with a minimum of 0, or {_NEWER}",
    "additionalProperties": f"Write {{'additionalProperties': False}}, or {_NEWER}",
    "dependencies": _CASES,
    "unevaluatedProperties": "Use additionalProperties",
    "unevaluatedItems": "Use items",
    "$dynamicRef": "Use $ref",
    "$recursiveRef": "Use $ref",
    "$ref": "Write what stands beside the reference into what it refers to",
}
# Keywords of old drafts, which validators of the present ones pass over.
OUTDATED = {
    "divisibleBy": "Use multipleOf",
    "disallow": "Say what is allowed instead",
    "extends": "Use allOf",
}


@dataclass(frozen=True)
class Unenforced:
    """A keyword that a grammar does not enforce.

    Attributes:
        keyword: The keyword.
        pointer: The JSON pointer to the schema that has it.
    """

    keyword: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.keyword!r} at {self.pointer}"

    @property
    def remedy(self) -> str:
        """How to do without the keyword."""
        return _REMEDIES[self.keyword]


def grammar_error(schema: dict[str, Any]) -> str:
    """Why llguidance refuses a schema; "" if it does not."""
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return " ".join(str(LLMatcher.validate_grammar(grammar, None)).split())
