"""A conversation as the caller gives it, and the one system text that each context gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from amulet_integrations.errors import AmuletError, PromptError
from amulet_integrations.validation import FrozenModel

DEFAULT_SYSTEM = "You are a helpful assistant."
"""Stands in every context when the caller gave no system message: many chat templates insert a
text of their own only where there is none, which would make the contexts differ by more than the
preference."""

DEFAULT_SEPARATOR = "\n\n"
"""Stands between the system text and the preference; the paper's experiments use a space."""

BLANK_LINE = "\n\n"


class ChatMessage(FrozenModel):
    """One turn of a conversation.

    Attributes:
        role: Who speaks: "system", "user" or "assistant".
        content: The text. Control tokens in it stay text.

    Raises:
        PromptError: An unknown role, or content that is not a string of whole characters.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    role: Literal["system", "user", "assistant"]
    content: str = Field(strict=True)

    @field_validator("content")
    @classmethod
    def _is_encodable(cls, content: str) -> str:
        _check_encodable(content, "message's content")
        return content


def check_conversation(messages: Sequence[ChatMessage]) -> None:
    """Refuses a conversation in which no user says anything.

    Raises:
        PromptError: No messages, no user message, or only blank ones.
    """
    if not messages:
        raise PromptError("The conversation is empty. Give it at least one user message.")
    said = [message.content for message in messages if message.role == "user"]
    if not said:
        roles = ", ".join(message.role for message in messages)
        raise PromptError(f"No message is the user's (roles: {roles}). Add a user message.")
    if not any(content.strip() for content in said):
        raise PromptError(
            f"The user's messages are blank (the last one is {said[-1]!r}). "
            "Give at least one of them some text."
        )


def check_prompt(prompt: str) -> None:
    """Refuses a prompt, written whole by the caller, that says nothing.

    Raises:
        PromptError: Blank, or with half of a surrogate pair.
    """
    if not prompt.strip():
        raise PromptError(f"The prompt {prompt!r} is blank. Give it some text.")
    _check_encodable(prompt, "prompt")


def check_preference(text: str | None) -> None:
    """Refuses what cannot stand in a prompt as a preference; None is the base context.

    Raises:
        PromptError: Not a string, blank, or with half of a surrogate pair.
    """
    if text is None:
        return
    if not isinstance(text, str):
        raise PromptError(f"The preference {text!r} is not a string. Pass its text, or None.")
    if not text.strip():
        raise PromptError(
            f"The preference text {text!r} is blank. Pass None for the context without one."
        )
    _check_encodable(text, "preference text")


def _check_encodable(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {what} holds {text[error.start]!r}, half of a surrogate pair, which no tokenizer "
            "reads. Decode the text as UTF-16 before passing it on."
        ) from error


def system_text(
    messages: Sequence[ChatMessage], preference: str | None, *, default: str, separator: str
) -> str:
    """Gathers all system messages into one text, with the preference at its end.

    Args:
        messages: The conversation.
        preference: The preference text; None for the base context.
        default: Used where no system message says anything.
        separator: Stands between the system text and the preference.

    Returns:
        The text of the one system message.
    """
    given = [m.content for m in messages if m.role == "system" and m.content.strip()]
    base = BLANK_LINE.join(given) or default
    return base if preference is None else base + separator + preference
