"""The text of content blocks, in the forms of LangChain, OpenAI, Anthropic, Bedrock and MCP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from mimetypes import guess_type
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.content_text import (
    join_texts,
    named_in_place,
    text_of_file,
    with_source,
)

Block = str | dict[Any, Any]

_TEXT_KEYS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_MEDIA = {
    "image": "an image",
    "image_url": "an image",
    "input_image": "an image",
    "audio": "a sound",
    "input_audio": "a sound",
    "video": "a video",
}
_FILES = {
    "file": "a file",
    "input_file": "a file",
    "text-plain": "a file",
    "resource": "a file",
    "document": "a document",
}
_NAMES = ("title", "filename", "name")
_TYPES = ("mime_type", "media_type", "mimeType")
_DATA = ("base64", "data", "file_data", "blob")
_URLS = ("url", "uri", "file_url", "image_url")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\r\n-]{64,}+={0,2}")  # longer than any word
_LONGEST_URL = 200  # characters that are shown


def kind_of(block: Block) -> str:
    """The type of a block, as a string whatever it is; "" where there is none."""
    if isinstance(block, str):
        return ""
    if (kind := block.get("type")) is not None:
        return str(kind)
    # Bedrock names a block by its only key.
    (only, *others) = (*block, "")
    return str(only) if others == [""] and only in {*_MEDIA, *_FILES, "json"} else ""


def as_blocks(content: Any) -> list[Block] | None:
    """A text, or a list of texts and dicts, as a list of blocks; None for anything else."""
    blocks = [content] if isinstance(content, str) else content
    is_list = isinstance(blocks, list) and all(isinstance(it, str | dict) for it in blocks)
    return blocks if is_list else None


def text_of_blocks(blocks: Iterable[Block], owner: str, *, strict: bool) -> str:
    """The text of several blocks, each on a line of its own.

    JSON is given as JSON, and files of text as their text. Documents and search results have their
    title and source on the line before.

    Args:
        blocks: The blocks.
        owner: The kind of message that holds them, for messages to the user.
        strict: Whether what a text model cannot read is refused. Otherwise it is named in its
            place, and a warning is given.

    Raises:
        PromptError: `strict`, and a block is no text.
    """
    return join_texts(_text_of_block(block, owner, strict=strict) for block in blocks)


def _text_of_block(block: Block, owner: str, *, strict: bool) -> str:
    if isinstance(block, str):
        return block
    kind = kind_of(block)

    def text_of(content: Any) -> str:
        return text_of_blocks(as_blocks(content) or (), owner, strict=strict)

    text = _readable_text(kind, block, text_of)
    if text is not None:
        return text
    held = _MEDIA.get(kind) or _FILES.get(kind)
    if strict or not isinstance(block.get("type", ""), str):
        raise PromptError(
            f"A {owner} holds {held + ', ' if held else ''}a block of type {kind or None!r}, but "
            'this model reads text only. Leave the block out, or put {"type": "text", "text": ...} '
            "in its place, with what it shows in words."
        )
    if held is None and not _is_binary(block):
        return _as_json(block)
    what = held or f"a block of type {kind or None!r}"
    details = ", ".join(filter(None, (_first(block, _NAMES), _mime_type(block), _url(block))))
    return named_in_place(f"{what} ({details})" if details else what, f"A {owner}")


def _readable_text(kind: str, block: dict[Any, Any], text_of: Callable[[Any], str]) -> str | None:
    """The text of a block; None if it has none."""
    title, url = _first(block, _NAMES), _url(block)
    text: Any = block.get(_TEXT_KEYS.get(kind or "text", ""))
    match kind:
        case "json":
            others = {name: value for name, value in block.items() if name not in {"type", "id"}}
            text = _as_json(block.get("json", others))
        case "non_standard" if isinstance(block.get("value"), dict):
            text = text_of([block["value"]])
        case "search_result":
            source = block.get("source")
            found = text_of(block.get("content"))
            text = with_source(found, title, source if isinstance(source, str) else url)
        case "custom_tool_call_output":
            text = text_of(block.get("output"))
        case "resource_link":
            text = join_texts([with_source("", title, url), str(block.get("description") or "")])
        case kind if kind in _FILES:
            nested = (text_of(part.get("content")) for part in _parts(block))
            found = _text_of_file(block) or join_texts(nested)
            text = with_source(found, title, url) if found else None
    return text if isinstance(text, str) else None


def _text_of_file(block: dict[Any, Any]) -> str | None:
    """The text that a file's block holds, as it is or in base64."""
    for part in _parts(block):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "text" and isinstance(part.get("data"), str):
            return str(part["data"])  # Anthropic's source
    data = _data_url(block)[1] or _first(block, _DATA) or ""
    # LangChain takes OpenAI's files for PDFs.
    types = (_mime_type(block), guess_type(_first(block, _NAMES) or "")[0])
    return next(filter(None, (text_of_file(data, mime_type) for mime_type in types)), None)


def _parts(block: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """A block and the dicts in it, which hold its source, its metadata and so on."""
    yield block
    for value in block.values():
        if isinstance(value, Mapping):
            yield from _parts(value)


def _first(block: dict[Any, Any], names: Iterable[str]) -> str | None:
    found = (part.get(name) for part in _parts(block) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _data_url(block: dict[Any, Any]) -> tuple[str | None, str | None]:
    """The type and the data of a ``data:`` URL, if the block has one."""
    head, _, data = (_first(block, (*_URLS, "file_data")) or "").partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        return None, None
    return head.removeprefix("data:").partition(";")[0], data


def _mime_type(block: dict[Any, Any]) -> str | None:
    named = _first(block, _TYPES) or _data_url(block)[0]
    suffix = _first(block, ("format",))
    return named or (guess_type(f"x.{suffix}")[0] if suffix else None)


def _url(block: dict[Any, Any]) -> str | None:
    url = _first(block, _URLS)
    return None if url is None or url.startswith("data:") else url[:_LONGEST_URL]


def _is_binary(block: Mapping[Any, Any]) -> bool:
    """Whether a block holds bytes, as such or in base64."""
    values = [value for part in _parts(block) for value in part.values()]
    return any(
        isinstance(value, bytes) or (isinstance(value, str) and _BASE64.fullmatch(value))
        for value in values
    )


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # names that are no strings, or a value that holds itself
        return str(value)
