"""Recursive references that stand beside other keywords, which llguidance does not support.

Such a schema gets a name of its own, with what it refers to written out. In there it refers to
itself by that name alone.
"""

from __future__ import annotations

import json
from typing import Any

from amulet_integrations.prompting.json_schema.references import recursive_references, resolve
from amulet_integrations.prompting.json_schema.shape import map_subschemas
from amulet_integrations.prompting.json_schema.unenforced import Unenforced

from .bounds import ANNOTATIONS

Schema = dict[str, Any]

_MOST_NAMES = 64


class Circles:
    """The circles of one document.

    Args:
        document: The whole schema.
        relaxes: Whether what stands beside a recursive reference is left out, and not named.

    Attributes:
        unenforced: What has been left out.
    """

    def __init__(self, document: Schema, *, relaxes: bool) -> None:
        self._document = document
        self._relaxes = relaxes
        self._recursive = recursive_references(document)
        self._names: dict[str, str] = {}
        self._named: dict[str, Any] = {}
        self.unenforced: list[Unenforced] = []

    def rewritten(self) -> Schema:
        """The document without such references."""
        schema: Schema = self._rewrite(self._document, "#")
        return {**schema, "$defs": {**schema.get("$defs", {}), **self._named}}

    def _rewrite(self, schema: Any, pointer: str) -> Any:
        if not isinstance(schema, dict):
            return schema
        beside = schema.keys() - ANNOTATIONS - {"$ref"}
        parts = [part["$ref"] for part in schema.get("allOf", ()) if self._is_reference(part)]
        if schema.get("$ref") in self._recursive and beside and pointer != "#":
            return self._combined(schema, pointer)
        if parts and pointer != "#" and (len(schema["allOf"]) > 1 or beside - {"allOf"}):
            return self._combined(schema, pointer)
        return self._rewrite_parts(schema, pointer)

    def _rewrite_parts(self, schema: Schema, pointer: str) -> Schema:
        return map_subschemas(
            schema, lambda inner, _keyword, place: self._rewrite(inner, place), pointer
        )

    def _combined(self, schema: Schema, pointer: str) -> Schema:
        if self._relaxes or len(self._names) >= _MOST_NAMES:
            self.unenforced.append(Unenforced("$ref", pointer))
            reference = schema.get("$ref") or next(filter(self._is_reference, schema["allOf"]))
            return reference if isinstance(reference, dict) else {"$ref": reference}
        key = json.dumps(schema, sort_keys=True)
        if key not in self._names:
            name = self._names[key] = f"amulet.circle-{len(self._names)}"
            others = {name: value for name, value in schema.items() if name != "$ref"}
            parts = [resolve(self._document, part["$ref"]) for part in (schema,) if "$ref" in part]
            parts += [
                resolve(self._document, part["$ref"]) if self._is_reference(part) else part
                for part in others.pop("allOf", ())
            ]
            whole = {**others, "allOf": parts}
            self._named[name] = self._rewrite_parts(whole, pointer)
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _is_reference(self, part: Any) -> bool:
        return isinstance(part, dict) and part.get("$ref") in self._recursive
