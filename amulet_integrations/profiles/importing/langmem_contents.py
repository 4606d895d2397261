"""What LangMem writes into an item of a store, as texts: memories, records and whole profiles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_TEXT_FIELDS = ("content", "memory", "text", "data", "fact")
_TRIPLE = ("subject", "predicate", "object")
_FEWEST_WORDS = 3  # of a text that says what it is about; shorter ones need the name of the field


class Part(NamedTuple):
    """One statement of an item.

    Attributes:
        path: Where it stands in the item, such as "preferences.style"; "" for the whole of it.
        text: What it says.
        kinds: What it is called: the schema, and the names of the fields around it.
        more: Fields beside it that belong to it.
    """

    path: str
    text: str
    kinds: tuple[str, ...]
    more: Mapping[str, Any]


def read_contents(value: Mapping[str, Any]) -> Iterator[Part]:
    """Reads the value of an item.

    `create_manage_memory_tool` writes ``{"content": …}``, and `create_memory_store_manager`
    ``{"kind": "Memory", "content": {"content": "…"}}``. A schema of the caller's own stands in the
    place of the inner content: with a `preference`, or a subject, predicate and object, it is one
    statement; of any other, each field with a value is one.
    """
    kind = value.get("kind")
    kinds = (kind,) if isinstance(kind, str) else ()
    is_wrapped = "content" in value and value.keys() <= {"kind", "content"}
    yield from _parts("", value["content"] if is_wrapped else value, kinds)


def _parts(path: str, content: Any, kinds: tuple[str, ...]) -> Iterator[Part]:
    if isinstance(content, Mapping):
        whole = _statement(content)
        if whole is not None:
            text, more = whole
            named = ("preference",) if "preference" in content else ()
            labels = [more[it] for it in ("category", "type") if isinstance(more.get(it), str)]
            yield Part(path, text, (*kinds, *named, *labels), more)
            return
        for name, inner in content.items():
            yield from _parts(f"{path}.{name}" if path else str(name), inner, (*kinds, str(name)))
    elif isinstance(content, list | tuple):
        for number, inner in enumerate(content):
            yield from _parts(f"{path}[{number}]", inner, kinds)
    elif content is not None and (text := _labelled(path, content)):
        yield Part(path, text, kinds, {})


def _statement(content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The one thing that an object says, and its other fields; None if it says several."""
    if all(isinstance(content.get(it), str) and content[it].strip() for it in _TRIPLE):
        text = " ".join(content[it].strip() for it in _TRIPLE)
        return _with_context(text, _without(content, *_TRIPLE))
    if isinstance(content.get("preference"), str) and content["preference"].strip():
        return _with_context(content["preference"].strip(), _without(content, "preference"))
    for name in _TEXT_FIELDS:
        others = _without(content, name)
        if isinstance(content.get(name), str) and content[name].strip():
            if all(isinstance(it, str | int | float | None) for it in others.values()):
                return _with_context(content[name].strip(), others)
            return None
    return None


def _with_context(text: str, more: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A text with the circumstances that its schema keeps in a field of their own."""
    context = more.get("context")
    if isinstance(context, str) and context.strip():
        return f"{text} ({context.strip()})", more
    return text, more


def _without(content: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _labelled(path: str, value: Any) -> str:
    """A value with the name of its field, unless it is a sentence of its own."""
    text = value.strip() if isinstance(value, str) else str(value)
    label = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2].replace("_", " ").strip()
    says_it_all = isinstance(value, str) and len(text.split()) >= _FEWEST_WORDS
    return text if not text or not label or says_it_all else f"{label}: {text}"
