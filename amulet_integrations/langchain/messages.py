"""LangChain's messages in, this package's messages out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core import messages as lc

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage

Role = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def to_chat_messages(messages: Sequence[lc.BaseMessage]) -> list[ChatMessage]:
    """Translates a conversation.

    Args:
        messages: System, human, AI and chat messages, with text or lists of text blocks.

    Raises:
        PromptError: A message of another kind, with tool calls, or with a block that is no text.
    """
    return [ChatMessage(role=_role(message), content=_text(message)) for message in messages]


def _role(message: lc.BaseMessage) -> Role:
    if isinstance(message, lc.SystemMessage):
        return "system"
    if isinstance(message, lc.HumanMessage):
        return "user"
    if isinstance(message, lc.AIMessage):
        if message.tool_calls or message.invalid_tool_calls:
            raise PromptError(
                "An AI message with tool calls cannot be shown to this model, which calls no "
                "tools. Leave the message out, or say as text what the tool found."
            )
        return "assistant"
    if isinstance(message, lc.ChatMessage) and message.role in _ROLES:
        return _ROLES[message.role]
    kind = type(message).__name__
    if isinstance(message, lc.ChatMessage):
        kind += f" of role {message.role!r}"
    raise PromptError(
        f"A {kind} cannot be shown to this model. Use SystemMessage, HumanMessage, AIMessage, or "
        "a ChatMessage of role 'system', 'user' or 'assistant'; say what a tool found as text."
    )


def _text(message: lc.BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_block_text(block, message) for block in message.content)


def _block_text(block: str | dict[Any, Any], message: lc.BaseMessage) -> str:
    if isinstance(block, str):
        return block
    text = block.get("text")
    if block.get("type") == "text" and isinstance(text, str):
        return text
    raise PromptError(
        f"A {type(message).__name__} holds a block of type {block.get('type')!r}, but this model "
        'reads text only. Leave the block out, or put {"type": "text", "text": ...} in its place.'
    )
