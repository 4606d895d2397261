"""The messages of a conversation, and what is refused in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from amulet_integrations.errors import AmuletError, PromptError, errors_at
from amulet_integrations.prompting.tools.tool_use import ToolCall
from amulet_integrations.validation import FrozenModel

DEFAULT_SYSTEM = "You are a helpful assistant."
"""The system text of every context if the caller gives none. Many chat templates insert a text of
their own if there is no system message, so contexts would differ in more than the preference."""

DEFAULT_SEPARATOR = "\n\n"
"""Stands between the system text and the preference; the paper's experiments use a space."""

BLANK_LINE = "\n\n"


class ChatMessage(FrozenModel):
    """One turn of a conversation.

    Attributes:
        role: "system", "user", "assistant", or "tool" for the result of a call.
        content: The text. Control tokens in it stay text.
        tool_calls: The calls that the assistant made in this turn, after the text.
        tool_call_id: The id of the call that a tool's message answers. Without an id, the message
            answers the first call of the latest calling message that has no answer yet.
        name: The tool that a tool's message comes from. Names of other roles are not used.
        reasoning: What the assistant thought before it answered, for templates that show it.

    Raises:
        PromptError: The role is unknown, or a text is not a string that can be encoded.
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
    def _check_text(cls, text: str | None, info: ValidationInfo) -> str | None:
        check_encodable(text or "", f"message's {info.field_name}")
        return text


@errors_at("messages")
def check_conversation(messages: Sequence[ChatMessage]) -> None:
    """Refuses a conversation in which no user says anything.

    Raises:
        PromptError: There are no messages, no user message, or only blank ones.
    """
    if not messages:
        raise PromptError("The conversation is empty. Give it at least one user message.")
    contents = [message.content for message in messages if message.role == "user"]
    if not contents:
        roles = ", ".join(message.role for message in messages)
        raise PromptError(f"No message is the user's (roles: {roles}). Add a user message.")
    if not any(content.strip() for content in contents):
        raise PromptError(
            f"The user's messages are blank (the last one is {contents[-1]!r:.40}). "
            "Give at least one of them some text."
        )


@errors_at("messages")
def check_answerable(messages: Sequence[ChatMessage]) -> None:
    """Refuses a conversation that ends with calls, which only their results can follow.

    Raises:
        PromptError: The last message calls tools.
    """
    if messages and messages[-1].tool_calls:
        names = ", ".join(repr(call.name) for call in messages[-1].tool_calls)
        raise PromptError(
            f"messages[{len(messages) - 1}], the last one, calls {names}, and nothing answers it. "
            "Add the result of each call as a tool's message, or leave the calls out."
        )


@errors_at("prompt")
def check_prompt(prompt: str) -> None:
    """Refuses a blank prompt.

    Raises:
        PromptError: The prompt is blank, or contains half of a surrogate pair.
    """
    if not prompt.strip():
        raise PromptError(f"The prompt {prompt!r:.40} is blank. Give it some text.")
    check_encodable(prompt, "prompt")


def check_preference(text: str | None) -> None:
    """Refuses a text that cannot be a preference; None stands for the base context.

    Raises:
        PromptError: It is not a string, is blank, or contains half of a surrogate pair.
    """
    if text is None:
        return
    if not isinstance(text, str):
        raise PromptError(f"The preference {text!r:.40} is not a string. Pass its text, or None.")
    if not text.strip():
        raise PromptError(
            f"The preference text {text!r:.40} is blank. Pass None for the context without one."
        )
    check_encodable(text, "preference text")


def check_encodable(text: str, what: str) -> None:
    """Refuses a text with half of a surrogate pair.

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
