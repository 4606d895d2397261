"""The text of content blocks, in the forms of LangChain, OpenAI, Anthropic, Bedrock and MCP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from mimetypes import guess_type
from typing import Any, NamedTuple

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.content_text import (
    join_texts,
    named_in_place,
    text_of_file,
    with_source,
)

from .block_json import DATA_KEYS, DEEPEST, holds_data, is_data, is_too_deep, json_of, named_values

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
_URLS = ("url", "uri", "file_url", "image_url")
_ABOUT_FILES = frozenset({"type", "id", "index", *_NAMES, *_TYPES, *_URLS})
_RESULT_KEYS = frozenset({"content", "source", "citations", "cache_control", *_ABOUT_FILES})
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
        PromptError: `strict`, and a block is no text or holds itself; or its type is no string.
    """
    return join_texts(map(_BlockReader(owner, strict).text, blocks))


class _BlockReader(NamedTuple):
    """Reads the blocks of one message; see `text_of_blocks`."""

    owner: str
    strict: bool

    def text(self, block: Block) -> str:
        if not is_too_deep(block):
            return self._block(block)
        what = f"a block that holds itself, or more than {DEEPEST} dicts and lists in each other"
        if self.strict:
            raise PromptError(
                f'A {self.owner} holds {what}. Put {{"type": "text", "text": ...}} in its place.'
            )
        return named_in_place(what, f"A {self.owner}")

    def _blocks(self, blocks: Iterable[Block]) -> str:
        return join_texts(map(self._block, blocks))

    def _block(self, block: Block) -> str:
        if isinstance(block, str):
            return block
        kind = kind_of(block)
        text = self._readable_text(kind, block)
        if text is not None:
            return text
        held = _MEDIA.get(kind) or _FILES.get(kind)
        if self.strict or not isinstance(block.get("type", ""), str):
            raise PromptError(
                f"A {self.owner} holds {held + ', ' if held else ''}a block of type "
                f"{kind or None!r}, but this model reads text only. Leave the block out, or put "
                '{"type": "text", "text": ...} in its place, with what it shows in words.'
            )
        if held is None and not _is_only_data(block):
            return self._json(block)
        what = held or f"a block of type {kind or None!r}"
        details = ", ".join(filter(None, (_first(block, _NAMES), _mime_type(block), _url(block))))
        return named_in_place(f"{what} ({details})" if details else what, f"A {self.owner}")

    def _content(self, content: Any) -> str:
        """The text of what a block holds: a text, a block, blocks, or JSON of any other value."""
        if isinstance(content, dict) and isinstance(content.get("type", ""), str):
            is_block = kind_of(content) or content.keys() == {"text"}
            content = [content] if is_block else content
        if content is None or content == {}:
            return ""
        blocks = as_blocks(content)
        return self._json(content) if blocks is None else self._blocks(blocks)

    def _json(self, value: Any) -> str:
        return json_of(value, self._in_place_of_data)

    def _in_place_of_data(self, name: object, value: Any) -> Any:
        what = "data" if name is None else f"data under {name!r}"
        if not self.strict:
            return named_in_place(what, f"A {self.owner}")
        if isinstance(value, str):
            return value  # a person may ask about it
        raise PromptError(
            f"A {self.owner} holds {what}, as {type(value).__name__}, but this model reads text "
            "only. Leave it out, or decode it."
        )

    def _readable_text(self, kind: str, block: dict[Any, Any]) -> str | None:
        """The text of a block; None if it has none."""
        title, url = _first(block, _NAMES), _url(block)
        text: Any = block.get(_TEXT_KEYS.get(kind or "text", ""))
        match kind:
            case "json":
                others = {name: it for name, it in block.items() if name not in {"type", "id"}}
                text = self._json(block.get("json", others))
            case "non_standard" if isinstance(block.get("value"), dict):
                text = self._blocks([block["value"]])
            case "search_result":
                text = self._search_result(block, title, url)
            case "custom_tool_call_output" if "output" in block:
                text = self._content(block["output"])
            case "resource_link":
                about = self._content(block.get("description"))
                text = join_texts([with_source("", title, url), about])
            case kind if kind in _FILES:
                found = _text_of_file(block) or self._text_in_file(block)
                context = block.get("context")  # Anthropic's; it is shown and not cited
                about = context if isinstance(context, str) else ""
                text = with_source(join_texts([about, found]), title, url) if found else None
        return text if isinstance(text, str) else None

    def _search_result(self, block: dict[Any, Any], title: str | None, url: str | None) -> str:
        source = block.get("source")
        found = self._content(block.get("content"))
        others = {name: value for name, value in block.items() if name not in _RESULT_KEYS}
        if not found and (any(others.values()) or isinstance(source, dict | list)):
            return self._json(block)  # what was found has another name
        return with_source(found, title, source if isinstance(source, str) else url)

    def _text_in_file(self, block: dict[Any, Any]) -> str:
        contents = (part.get("content") for part in _parts(block))
        content = next(filter(None, contents), None)
        if as_blocks(content) is None and holds_data(content):
            return ""  # the file itself
        return self._content(content)


def _text_of_file(block: dict[Any, Any]) -> str | None:
    """The text that a file's block holds, as it is or in base64."""
    for part in _parts(block):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "text" and isinstance(part.get("data"), str):
            return str(part["data"])  # Anthropic's source
    data = _data_url(block)[1] or _first(block, DATA_KEYS) or ""
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


def _is_only_data(block: Mapping[Any, Any]) -> bool:
    """Whether a block holds data, and besides only what is said of a file."""
    others = [name for name, value in named_values(block) if not is_data(name, value)]
    return holds_data(block) and _ABOUT_FILES.issuperset(others)
