"""Blocks of message content, in the forms of LangChain, OpenAI and Anthropic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from amulet_integrations.errors import PromptError

Block = str | dict[Any, Any]

_TEXT_KEYS = {
    "text": "text",
    "text-plain": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
_CALLS = {"tool_use": "input", "tool_call": "args", "function_call": "arguments"}
_RESULTS = {"tool_result": "tool_use_id", "function_call_output": "call_id"}
# Marks for a provider's cache, thoughts that only their provider can read, and pieces of calls
# that the message has whole.
_OF_NO_ACCOUNT = {
    "redacted_thinking",
    "input_json_delta",
    "tool_call_chunk",
    "invalid_tool_call",
}
_MEDIA = {
    "image": "an image",
    "image_url": "an image",
    "input_image": "an image",
    "audio": "a sound",
    "input_audio": "a sound",
    "video": "a video",
    "file": "a file",
    "input_file": "a file",
    "document": "a document",
}


@dataclass(frozen=True)
class Result:
    """What a tool gave back.

    Attributes:
        call_id: The call that it answers.
        content: Its text.
        failed: Whether the tool failed.
    """

    call_id: str
    content: str
    failed: bool


def is_of_no_account(block: Block) -> bool:
    """Whether a block says nothing to a model."""
    return isinstance(block, dict) and (
        _kind(block) in _OF_NO_ACCOUNT or block.keys() == {"cachePoint"}
    )


def block_text(block: Block, owner: str) -> str:
    """The text of a block.

    Args:
        block: The block.
        owner: The kind of message that it stands in, for the error.

    Raises:
        PromptError: The block is no text.
    """
    if isinstance(block, str):
        return block
    kind = _kind(block)
    text = block.get("text" if kind is None else _TEXT_KEYS.get(kind, ""))
    if isinstance(text, str):
        return text
    source = block.get("source")
    if kind == "document" and isinstance(source, Mapping) and source.get("type") == "text":
        return str(source.get("data", ""))
    held = f"{_MEDIA[kind]}, " if kind in _MEDIA else ""
    raise PromptError(
        f"A {owner} holds {held}a block of type {kind!r}, but this model reads text only. Leave "
        'the block out, or put {"type": "text", "text": ...} in its place, with what it shows in '
        "words."
    )


def block_call(block: Block) -> dict[str, Any] | None:
    """The call that a block is, as keyword arguments of `ToolCall`; None for other blocks.

    Raises:
        PromptError: Its arguments are no object.
    """
    if isinstance(block, str) or (key := _CALLS.get(_kind(block) or "")) is None:
        return None
    arguments = block.get(key) or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"The call of {block.get('name')!r} in a block has {key} that are no JSON object. Give "
            "the arguments as a dict."
        )
    call_id = block.get("call_id") or block.get("id")
    return {"name": block.get("name"), "arguments": dict(arguments), "id": call_id}


def block_result(block: Block, message: BaseMessage) -> Result | None:
    """The result of a tool that a block is; None for other blocks.

    Raises:
        PromptError: It holds something that is no text.
    """
    if isinstance(block, str) or (key := _RESULTS.get(_kind(block) or "")) is None:
        return None
    owner = f"{type(message).__name__}'s tool result"
    parts = _parts(block.get("content", block.get("output")), owner)
    text = "".join(block_text(part, owner) for part in parts)
    return Result(str(block.get(key)), text, bool(block.get("is_error")))


def block_reasoning(block: Block) -> str | None:
    """The thoughts that a block is; None for other blocks."""
    if isinstance(block, str) or _kind(block) not in {"thinking", "reasoning"}:
        return None
    for key in ("thinking", "reasoning"):
        if isinstance(block.get(key), str):
            return str(block[key])
    summary = block.get("summary")
    parts = summary if isinstance(summary, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _kind(block: dict[Any, Any]) -> str | None:
    """What a block says it is, as a string whatever it holds; None where it says nothing."""
    kind = block.get("type")
    return None if kind is None else str(kind)


def _parts(content: Any, owner: str) -> list[Block]:
    """The blocks of a tool's result."""
    if content is None or isinstance(content, str):
        return [content or ""]
    if isinstance(content, list) and all(isinstance(part, str | dict) for part in content):
        return content
    raise PromptError(
        f"A {owner} is neither a text nor a list of blocks. Give what the tool said as a string."
    )
