"""Increments of the engine in, LlamaIndex's responses out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
)

from amulet_integrations.engine import Increment

R = TypeVar("R", bound=ChatResponse | CompletionResponse)


def completion_form(text: str, **fields: Any) -> CompletionResponse:
    """What `complete` and its siblings return."""
    return CompletionResponse(text=text, **fields)


def chat_form(text: str, **fields: Any) -> ChatResponse:
    """What `chat` and its siblings return."""
    message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
    return ChatResponse(message=message, **fields)


class GrowingAnswer(Generic[R]):
    """One answer, from its first increment to its last.

    Args:
        form: Makes the responses, of the text so far and their other fields.
        model_name: The model that answers.
        personalization: What was applied, as JSON values.
    """

    def __init__(
        self, form: Callable[..., R], model_name: str, personalization: dict[str, Any]
    ) -> None:
        self._form = form
        self._raw = {"model": model_name, "amulet": personalization}
        self._text = ""
        self._facts: dict[str, Any] = {}

    def add(self, increment: Increment) -> R:
        """The answer so far; with finish reason and usage once this was the last increment."""
        self._text += increment.text
        if increment.usage is not None:
            usage = {
                "prompt_tokens": increment.usage.prompt_tokens,
                "completion_tokens": increment.usage.completion_tokens,
                "total_tokens": increment.usage.total_tokens,
            }
            raw = {"finish_reason": increment.finish_reason, "usage": usage, **self._raw}
            self._facts = {"raw": raw, "additional_kwargs": dict(usage)}
        return self._form(self._text, delta=increment.text, **self._facts)
