"""The engine's increments in, LangChain's chunks out."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk

from amulet_integrations.engine.result import Increment


def to_chunk(increment: Increment, facts: dict[str, Any]) -> ChatGenerationChunk | None:
    """Translates one step of a stream.

    Args:
        increment: The step.
        facts: What the last chunk's `response_metadata` tells beside the finish reason.

    Returns:
        The chunk; None for a step before the last one that brought no text.
    """
    if increment.usage is not None:
        message = AIMessageChunk(
            content=increment.text,
            response_metadata={"finish_reason": increment.finish_reason, **facts},
            usage_metadata=UsageMetadata(
                input_tokens=increment.usage.prompt_tokens,
                output_tokens=increment.usage.completion_tokens,
                total_tokens=increment.usage.total_tokens,
            ),
            chunk_position="last",
        )
    elif increment.text:
        message = AIMessageChunk(content=increment.text)
    else:
        return None
    return ChatGenerationChunk(message=message)
