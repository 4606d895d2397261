"""What the user wrote in a conversation, whichever framework its messages are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from amulet_integrations.errors import PromptError, errors_at

_USER = {"user", "human", "HumanMessageChunk"}
_OTHERS = {
    *("system", "developer", "assistant", "ai", "AIMessageChunk", "tool", "function", "model"),
    *("chatbot", "remove", "SystemMessageChunk", "ToolMessageChunk", "FunctionMessageChunk"),
}
_EXPECTED = (
    'a message of LangChain or LlamaIndex, a pair ("user", "…"), '
    'or {"role": "user", "content": "…"}'
)


class UserTurn(NamedTuple):
    """One message of the user.

    Attributes:
        number: Its number among all messages, from 0.
        text: What the user wrote.
    """

    number: int
    text: str


@errors_at("conversation")
def user_turns(conversation: Any) -> list[UserTurn]:
    """Picks the user's messages; nothing that anybody else said is evidence of what a user wants.

    Args:
        conversation: Messages of LangChain, LlamaIndex or this package, dicts as in OpenAI's API,
            or pairs of a role and a text. A string is one message of the user.

    Raises:
        PromptError: It is something else, or the user wrote nothing.
    """
    if isinstance(conversation, str):
        conversation = [("user", conversation)]
    if not isinstance(conversation, Sequence) or isinstance(conversation, bytes):
        raise PromptError(
            f"The conversation is a {type(conversation).__name__}; give a list of messages."
        )
    turns = []
    for number, message in enumerate(conversation):
        role = _role(number, message)
        if role in _USER and (text := _text(number, message).strip()):
            turns.append(UserTurn(number, text))
        elif role not in _USER | _OTHERS:
            raise PromptError(
                f"[{number}] has the role {role!r:.40}; give one of user, assistant, system, tool."
            )
    if not turns:
        raise PromptError(
            "The user wrote nothing in this conversation, so nothing can be suggested from it."
        )
    return turns


def _role(number: int, message: Any) -> str:
    if isinstance(message, Mapping):
        role = message.get("role", message.get("type"))
    elif isinstance(message, tuple) and len(message) == 2:  # noqa: PLR2004 - a pair
        role = message[0]
    else:
        # LangChain's `ChatMessage` has a type "chat", and the role beside it.
        role = getattr(message, "role", None) or getattr(message, "type", None)
    role = getattr(role, "value", role)  # LlamaIndex's roles are an enum
    if isinstance(role, str):
        return role
    raise PromptError(f"[{number}] is a {type(message).__name__}; give {_EXPECTED}.")


def _text(number: int, message: Any) -> str:
    if isinstance(message, Mapping):
        content = message.get("content")
    elif isinstance(message, tuple):
        content = message[1]
    else:
        content = getattr(message, "content", None)
        if content is None and hasattr(message, "blocks"):  # LlamaIndex: several blocks
            content = [getattr(block, "text", None) for block in message.blocks]
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(filter(None, map(_part, content)))
    raise PromptError(f"[{number}] has a content of type {type(content).__name__}; give a string.")


def _part(part: Any) -> str | None:
    """The text of one block of a message; pictures and the like say nothing here."""
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else None
