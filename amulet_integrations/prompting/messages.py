"""A conversation as the caller gives it, and the one system text that each context gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from amulet_integrations.errors import AmuletError, PromptError
from amulet_integrations.prompting.tools.tool_use import ToolCall
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
        role: Who speaks: "system", "user", "assistant", or "tool" for what a call gave.
        content: The text. Control tokens in it stay text.
        tool_calls: The calls that the assistant made in this turn, after the text.
        tool_call_id: The id of the call that a tool's message answers. Without one it answers
            the first call of the latest calling message that has no answer yet.
        name: The tool that a tool's message is from. Other roles' names are not told the model.
        reasoning: What the assistant thought before it answered, for templates that show it.

    Raises:
        PromptError: An unknown role, or text that is not a string of whole characters.
    """

    error_type: ClassVar[type[AmuletError]] = PromptError

    role: Literal["system", "user", "assistant", "tool"]
    content: str = Field(strict=True)
    tool_calls: tuple[ToolCall, ...] = Field(default=(), repr=False)
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str | None = Field(default=None, repr=False)

    @field_validator("content", "reasoning")
    @classmethod
    def _is_encodable(cls, text: str | None, info: ValidationInfo) -> str | None:
        check_encodable(text or "", f"message's {info.field_name}")
        return text


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
    check_encodable(prompt, "prompt")


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
    check_encodable(text, "preference text")


def check_encodable(text: str, what: str) -> None:
    """Refuses half a surrogate pair.

    Args:
        text: Any text.
        what: What the text is, for the message.

    Raises:
        PromptError: The text cannot be written as UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {what} holds {text[error.start]!r}, half of a surrogate pair, which no tokenizer "
            "reads. Decode the text as UTF-16 before passing it on."
        ) from error


def system_text(
    said: Iterable[str],
    preference: str | None,
    *,
    default: str,
    separator: str,
    sections: Sequence[str] = (),
) -> str:
    """Gathers all system messages into one text, with the preference at its end.

    Args:
        said: What the system messages say.
        preference: The preference text; None for the base context.
        default: Used where no system message says anything.
        separator: Stands between the system text and the preference.
        sections: What the model has to be told of tools and formats; in every context.

    Returns:
        The text of the one system message.
    """
    given = [text for text in said if text.strip()]
    base = BLANK_LINE.join([*(given or [default]), *filter(None, sections)])
    return base if preference is None else base + separator + preference
