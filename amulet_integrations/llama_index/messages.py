"""LlamaIndex's messages in, ours out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from llama_index.core.base.llms.types import CachePoint, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.base.llms.types import ChatMessage as LlamaMessage

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage

_ROLES: dict[MessageRole, Literal["system", "user", "assistant"]] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}

# They say nothing to a model: a hint to a provider's cache, and thoughts of earlier turns.
_SILENT = (CachePoint, ThinkingBlock)


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
            blocks of one message are joined by line breaks, as LlamaIndex does.

    Returns:
        The same turns, as the prompt builder takes them.

    Raises:
        PromptError: A message holds something else than text, or is a tool's.
    """
    return [_translated(place, message) for place, message in enumerate(messages)]


def _translated(place: int, message: LlamaMessage) -> ChatMessage:
    role = _ROLES.get(message.role)
    if role is None:
        raise PromptError(
            f"messages[{place}] has the role {message.role.value!r}, which this model is not "
            "given. Put what it says into a user message."
        )
    return ChatMessage(role=role, content="\n".join(_texts(place, message)))


def _texts(place: int, message: LlamaMessage) -> list[str]:
    texts = []
    for block in message.blocks:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif not isinstance(block, _SILENT):
            raise PromptError(
                f"messages[{place}] holds a block of type {block.block_type!r}; this model reads "
                "text only. Remove the block, or say in a text block what it shows."
            )
    return texts
