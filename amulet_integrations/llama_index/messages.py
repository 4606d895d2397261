"""LlamaIndex's messages in, ours out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from llama_index.core.base.llms.types import (
    BaseContentBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.base.llms.types import ChatMessage as LlamaMessage

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage, ToolCall
from amulet_integrations.prompting.openai_compat.openai_tools import as_tool_name

_ROLES: dict[MessageRole, Literal["system", "user", "assistant", "tool"]] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

# What is told elsewhere, and a hint to a provider's cache, which says nothing to a model.
_NO_TEXT = (CachePoint, ThinkingBlock, ToolCallBlock)


def check_messages(messages: object) -> None:
    """Refuses what is no list of LlamaIndex's messages, or an empty one.

    Raises:
        PromptError: So it is.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise PromptError(
            f"messages is a {type(messages).__name__}; give a list of ChatMessage, or pass a "
            "string to `complete`."
        )
    if not messages:
        raise PromptError("The conversation is empty. Give it at least one user message.")
    for place, message in enumerate(messages):
        if not isinstance(message, LlamaMessage):
            raise PromptError(
                f"messages[{place}] is a {type(message).__name__}; give LlamaIndex's ChatMessage."
            )


def from_llama_index(messages: Sequence[LlamaMessage]) -> list[ChatMessage]:
    """Translates a conversation.

    Args:
        messages: LlamaIndex's messages. Developer messages count as system messages, and text
            blocks of one message are joined by line breaks, as LlamaIndex does. Calls are read
            from tool call blocks and from ``additional_kwargs["tool_calls"]`` in OpenAI's form;
            results name their call in ``additional_kwargs["tool_call_id"]``.

    Returns:
        The same turns, as the prompt builder takes them.

    Raises:
        PromptError: A message holds something that a text model cannot read.
    """
    return [_translated(place, message) for place, message in enumerate(messages)]


def _translated(place: int, message: LlamaMessage) -> ChatMessage:
    role = _ROLES[message.role]
    more: dict[str, Any] = {}
    if role == "assistant":
        if calls := tuple(_calls(place, message)):
            more["tool_calls"] = calls
        if thoughts := _thoughts(message):
            more["reasoning"] = thoughts
    elif role == "tool":
        told = message.additional_kwargs
        name = told.get("name")
        more["tool_call_id"] = told.get("tool_call_id")
        more["name"] = as_tool_name(name) if isinstance(name, str) else name
    return ChatMessage(role=role, content="\n".join(_texts(place, message)), **more)


def _texts(place: int, message: LlamaMessage) -> Iterator[str]:
    for block in message.blocks:
        if isinstance(block, CitableBlock | CitationBlock):
            for cited in block.nested_blocks:
                yield _text(place, cited)
        elif not isinstance(block, _NO_TEXT):
            yield _text(place, block)


def _text(place: int, block: BaseContentBlock) -> str:
    if isinstance(block, TextBlock):
        return block.text
    kind = getattr(block, "block_type", type(block).__name__)
    raise PromptError(
        f"messages[{place}] holds a block of type {kind!r}; this model reads text only. Remove "
        "the block, or say in a text block what it shows."
    )


def _thoughts(message: LlamaMessage) -> str:
    blocks = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    return "\n\n".join(block.content for block in blocks if block.content)


def _calls(place: int, message: LlamaMessage) -> Iterator[ToolCall]:
    """The calls of a message; where blocks tell them, the other place tells the same ones."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    for block in blocks:
        yield _call(place, block.tool_name, block.tool_kwargs, block.tool_call_id)
    for told in () if blocks else message.additional_kwargs.get("tool_calls") or ():
        # OpenAI's client gives objects, whose fields have the same names.
        function = _field(told, "function")
        name, arguments = _field(function, "name"), _field(function, "arguments")
        yield _call(place, name, arguments, _field(told, "id"))


def _field(owner: Any, name: str) -> Any:
    return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)


def _call(place: int, name: Any, arguments: Any, call_id: Any) -> ToolCall:
    if not isinstance(name, str):
        raise PromptError(
            f"messages[{place}] holds a tool call without a name. Use ToolCallBlock, or "
            '{"id": ..., "function": {"name": ..., "arguments": ...}}.'
        )
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = None
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"messages[{place}] calls {name!r} with arguments that are no JSON object. Give them "
            "as a dict."
        )
    return ToolCall(name=as_tool_name(name), arguments=dict(arguments), id=call_id)
