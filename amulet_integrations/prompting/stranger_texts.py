"""Which strings of tools and schemas a chat template sees, and which are placeholders.

The template sees names, keywords and types, because it looks for them. Everything else in a schema
is text: descriptions, titles, values, patterns, references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amulet_integrations.prompting.json_schema.shape import LISTS, MAPS, SINGLE

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_NAME_LISTS = frozenset({"dependentRequired", "dependencies"})
_KEYWORDS = frozenset(
    {
        *(*MAPS, *LISTS, *SINGLE, *_NAME_LISTS, "required", "type", "title", "description"),
        *("enum", "const", "default", "examples", "example", "format", "pattern", "$ref", "$id"),
        *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "multipleOf"),
        *("exclusiveMaximum", "minItems", "maxItems", "uniqueItems", "minProperties", "nullable"),
        *("maxProperties", "minContains", "maxContains", "readOnly", "writeOnly", "deprecated"),
        *("contentEncoding", "contentMediaType", "$schema", "$comment", "$anchor", "strict"),
    }
)

KEYS = frozenset({*_KEYWORDS, "type", "function", "name", "parameters", "return", "strict"})
"""Keys of tools and schemas that are no names."""


@dataclass(frozen=True)
class StrangerTexts:
    """Writes tools and schemas for a template.

    Attributes:
        write_name: Writes the name of a tool or a property.
        write_text: Writes every other text.
    """

    write_name: Callable[[str], str]
    write_text: Callable[[str], str]

    def tool(self, function: Mapping[str, Any]) -> dict[str, Any]:
        """A tool: its name, description and parameters."""
        return {
            **function,
            "name": self.write_name(function["name"]),
            "description": self.write_text(function["description"]),
            "parameters": self.schema(function["parameters"]),
        }

    def schema(self, schema: Any) -> Any:
        """A JSON schema."""
        if not isinstance(schema, dict):
            return self._value(schema)
        return {
            keyword if keyword in _KEYWORDS else self.write_name(keyword): self._part(keyword, held)
            for keyword, held in schema.items()
        }

    def _part(self, keyword: str, held: Any) -> Any:  # noqa: PLR0911 - one for each kind
        """What a keyword of a schema holds."""
        if keyword in MAPS and isinstance(held, dict):
            return {self.write_name(name): self.schema(inner) for name, inner in held.items()}
        if keyword in _NAME_LISTS and isinstance(held, dict):
            return {self.write_name(name): self._names(inner) for name, inner in held.items()}
        if keyword in (*LISTS, "items") and isinstance(held, list | tuple):
            return [self.schema(inner) for inner in held]
        if keyword in SINGLE:
            return self.schema(held)
        if keyword == "required":
            return self._names(held)
        if keyword == "type":
            return [self._type(it) for it in held] if isinstance(held, list) else self._type(held)
        return self._value(held)

    def _names(self, held: Any) -> Any:
        if not isinstance(held, list | tuple):
            return self.schema(held)
        return [self.write_name(it) if isinstance(it, str) else self._value(it) for it in held]

    def _type(self, held: Any) -> Any:
        return held if isinstance(held, str) and held in _TYPES else self._value(held)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.write_text(value)
        if isinstance(value, list | tuple):
            return [self._value(held) for held in value]
        if isinstance(value, dict):
            return {self.write_name(name): self._value(held) for name, held in value.items()}
        return value


def names_in(tools: Iterator[Mapping[str, Any]], schema: Any) -> list[str]:
    """Every name in some tools and a schema, once each."""
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found[name] = None
        return name

    noting = StrangerTexts(note, lambda text: text)
    for tool in tools:
        noting.tool(tool)
    noting.schema(schema)
    return list(found)
