"""One question to the engine, and its answer as LangChain's chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from amulet_integrations.langchain.streaming import AnswerWriter
from amulet_integrations.personalization.prepared_call import PreparedAnswer


@dataclass(frozen=True)
class Exchange:
    """Everything that a question needs, ready to be asked.

    Attributes:
        answer: The request and its engine.
        writer: Writes the chunks.
    """

    answer: PreparedAnswer
    writer: AnswerWriter

    def chunks(self) -> Generator[ChatGenerationChunk, None, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        with closing(self.answer.stream()) as increments:
            for increment in increments:
                yield from self.writer.chunks(increment)

    async def achunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """`chunks` for asyncio."""
        async with aclosing(self.answer.astream()) as increments:
            async for increment in increments:
                for chunk in self.writer.chunks(increment):
                    yield chunk

    def complete(self, result: ChatResult) -> ChatResult:
        """A whole answer with what its chunks could not carry."""
        message = result.generations[0].message
        if isinstance(message, AIMessage) and self.writer.invalid:
            message.invalid_tool_calls = self.writer.invalid
        return result
