"""References within a JSON schema: what they point to, and which of them are recursive."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from .shape import iter_objects


def resolve(document: Any, reference: str) -> Any:
    """What a reference within a document points to; None if that is not plain to see."""
    if not reference.startswith("#"):
        return None
    found: Any = document
    for part in filter(None, reference.removeprefix("#").split("/")):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def recursive_references(document: Any) -> frozenset[str]:
    """The references of a document that stand, at some depth, in what they point to."""
    direct = {
        reference: _references(resolve(document, reference)) for reference in _references(document)
    }
    return frozenset(start for start in direct if start in _reachable(start, direct))


def has_anchor(document: dict[str, Any], reference: str) -> bool:
    """Whether a dynamic reference within a document leads somewhere."""
    name = str(reference).removeprefix("#")
    anchors = ("$dynamicAnchor", "$anchor")
    return any(inner.get(key) == name for inner in iter_objects(document) for key in anchors)


def _references(schema: Any) -> set[str]:
    return {inner["$ref"] for inner in iter_objects(schema) if isinstance(inner.get("$ref"), str)}


def _reachable(start: str, direct: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for reference in direct[waiting.pop()] - found:
            found.add(reference)
            waiting.append(reference)
    return found
