"""LlamaIndex's messages in, ours out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Literal

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.base.llms.types import ChatMessage as LlamaMessage

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage, ToolCall
from amulet_integrations.prompting.content_text import (
    join_texts,
    named_in_place,
    text_of_file,
    with_source,
)
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

# Converted apart from the text; and a hint to a provider's cache, which means nothing to a model.
_BLOCKS_WITHOUT_TEXT = (CachePoint, ThinkingBlock, ToolCallBlock)

_LONGEST = 200  # characters of an address that are shown


def user_message(text: str) -> LlamaMessage:
    """What a user says, as a message."""
    return LlamaMessage(role=MessageRole.USER, content=text)


def has_system_message(messages: Sequence[LlamaMessage]) -> bool:
    """Whether one of the messages is a system or a developer message."""
    return any(_ROLES[message.role] == "system" for message in messages)


def check_messages(messages: object) -> None:
    """Checks that an argument is a conversation.

    Raises:
        PromptError: It is not a list of LlamaIndex's messages, or the list is empty.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise PromptError(
            f"messages is a {type(messages).__name__}; give a list of ChatMessage, or pass a "
            "string to `complete`."
        )
    if not messages:
        raise PromptError("The conversation is empty. Give it at least one user message.")
    for index, message in enumerate(messages):
        if not isinstance(message, LlamaMessage):
            raise PromptError(
                f"messages[{index}] is a {type(message).__name__}; give LlamaIndex's ChatMessage."
            )


def to_chat_messages(messages: Sequence[LlamaMessage]) -> tuple[ChatMessage, ...]:
    """Converts a conversation.

    Args:
        messages: LlamaIndex's messages. Developer messages count as system messages, and text
            blocks of one message are joined by line breaks, as LlamaIndex does. Calls are read
            from tool call blocks and from ``additional_kwargs["tool_calls"]`` in OpenAI's form;
            results name their call in ``additional_kwargs["tool_call_id"]``. What a text model
            cannot read in the answers of models and tools is named in its place, with a warning.

    Returns:
        The same turns, as the prompt builder takes them.

    Raises:
        PromptError: A system or user message contains something that a text model cannot read.
    """
    return tuple(_converted(index, message) for index, message in enumerate(messages))


def _converted(index: int, message: LlamaMessage) -> ChatMessage:
    role = _ROLES[message.role]
    content = join_texts(_texts(index, message))
    if role == "assistant":
        calls = tuple(_calls(index, message))
        return ChatMessage(
            role=role, content=content, tool_calls=calls, reasoning=_thoughts(message)
        )
    if role == "tool":
        name = message.additional_kwargs.get("name")
        return ChatMessage(
            role=role,
            content=content,
            tool_call_id=message.additional_kwargs.get("tool_call_id"),
            name=as_tool_name(name) if isinstance(name, str) else name,
        )
    return ChatMessage(role=role, content=content)


def _texts(index: int, message: LlamaMessage) -> Iterator[str]:
    for block in message.blocks:
        if isinstance(block, CitationBlock):
            yield _text(index, message, block.cited_content)
        elif isinstance(block, CitableBlock):
            cited = join_texts(_text(index, message, it) for it in block.content)
            yield with_source(cited, block.title, block.source)
        elif not isinstance(block, _BLOCKS_WITHOUT_TEXT):
            yield _text(index, message, block)


def _text(index: int, message: LlamaMessage, block: BaseContentBlock) -> str:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, DocumentBlock) and (text := _document_text(block)):
        return with_source(text, _title(block))
    if _ROLES[message.role] in ("assistant", "tool"):
        return named_in_place(_described(block), f"messages[{index}]")
    kind = getattr(block, "block_type", type(block).__name__)
    raise PromptError(
        f"messages[{index}] holds a block of type {kind!r}; this model reads text only. Remove "
        "the block, or say in a text block what it shows."
    )


def _document_text(document: DocumentBlock) -> str | None:
    """The text of a document that is in memory; nothing is read from disk or from a network."""
    data = document.data
    if isinstance(data, BytesIO):
        data = b64encode(data.getvalue())
    return text_of_file(data, document.document_mimetype) if isinstance(data, bytes) else None


def _title(document: DocumentBlock) -> str | None:
    """The title that somebody gave a document; LlamaIndex fills in one of its own."""
    return None if document.title == "input_document" else document.title


def _described(block: BaseContentBlock) -> str:
    """What a block is, with what is known about it."""
    facts: tuple[Any, ...] = ()
    what = f"a block of type {getattr(block, 'block_type', type(block).__name__)!r}"
    match block:
        case ImageBlock():
            what, facts = "an image", (block.image_mimetype, block.url)
        case AudioBlock():
            what, facts = "a sound", (block.format, block.url)
        case VideoBlock():
            what, facts = "a video", (block.video_mimetype, block.url)
        case DocumentBlock():
            what, facts = "a document", (_title(block), block.document_mimetype, block.url)
    known = ", ".join(str(fact)[:_LONGEST] for fact in facts if fact and not _is_data_url(fact))
    return f"{what} ({known})" if known else what


def _is_data_url(fact: Any) -> bool:
    return str(fact).startswith("data:")


def _thoughts(message: LlamaMessage) -> str | None:
    blocks = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    return "\n\n".join(block.content for block in blocks if block.content) or None


def _calls(index: int, message: LlamaMessage) -> Iterator[ToolCall]:
    """The calls of a message; where it has blocks of them, the other place repeats the blocks."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    for block in blocks:
        yield _call(index, block.tool_name, block.tool_kwargs, block.tool_call_id)
    for call in () if blocks else message.additional_kwargs.get("tool_calls") or ():
        # OpenAI's client returns objects, whose attributes have the same names.
        function = _field(call, "function")
        name, arguments = _field(function, "name"), _field(function, "arguments")
        yield _call(index, name, arguments, _field(call, "id"))


def _field(owner: Any, name: str) -> Any:
    return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)


def _call(index: int, name: Any, arguments: Any, call_id: Any) -> ToolCall:
    if not isinstance(name, str):
        raise PromptError(
            f"messages[{index}] holds a tool call without a name. Use ToolCallBlock, or "
            '{"id": ..., "function": {"name": ..., "arguments": ...}}.'
        )
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = None
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"messages[{index}] calls {name!r} with arguments that are no JSON object. Give them "
            "as a dict."
        )
    return ToolCall(name=as_tool_name(name), arguments=dict(arguments), id=call_id)
