"""Docstrings in Google's style: what they say of a class, and of each of its fields."""

from __future__ import annotations

import inspect
import re
from typing import Any

_FIELDS = ("Args:", "Attributes:")
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Example|Examples|Note|Notes|Yields):\s*")
_FIELD = re.compile(r"(?P<indent>\s+)(?P<name>\w+)(?:\s*\([^)]*\))?\s*:\s*(?P<text>.*)")


def own_docstring(cls: Any) -> str:
    """The docstring that somebody wrote for a class; not an inherited or a generated one."""
    doc = getattr(cls, "__doc__", None) or ""
    is_generated = doc.startswith(f"{cls.__name__}(")
    return "" if is_generated else inspect.cleandoc(doc)


def split_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """The description in front of the sections of a docstring, and those of the fields."""
    head: list[str] = []
    fields: dict[str, str] = {}
    section = name = ""
    indent = 0
    for line in doc.splitlines():
        if _SECTION.fullmatch(line):
            section, name = line.strip(), ""
        elif not section:
            head.append(line)
        elif section in _FIELDS and line.strip():
            found = _FIELD.fullmatch(line)
            if found and (not name or len(found["indent"]) <= indent):
                name, indent = found["name"], len(found["indent"])
                fields[name] = found["text"].strip()
            elif name:
                fields[name] = f"{fields[name]} {line.strip()}".strip()
    return "\n".join(head).strip(), fields
