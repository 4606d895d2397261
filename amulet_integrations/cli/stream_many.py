"""Several requests decoded together, followed by one reader."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amulet_integrations.decoding.strength import Method
from amulet_integrations.errors import AmuletError

if TYPE_CHECKING:
    from amulet_integrations.engine import Engine, FinishReason, GenerationRequest
    from amulet_integrations.engine.protocol import IncrementStream


@dataclass
class Answer:
    """One answer as far as it has come.

    Attributes:
        method: How it is decoded.
        strength: How strongly the preference is applied, for people.
        request: What the engine is asked for.
        text: The text so far.
        tokens: Tokens so far.
        finish_reason: Set once the answer is whole.
        error: Set if it failed.
    """

    method: Method
    strength: str
    request: GenerationRequest = field(repr=False)
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    error: AmuletError | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.finish_reason is not None


def follow(engine: Engine, answers: Sequence[Answer]) -> Generator[Answer]:
    """Decodes answers together; one that fails leaves the others be.

    Closing the iterator cancels what still runs.

    Yields:
        An answer each time it has grown or failed.
    """
    running: list[tuple[Answer, IncrementStream]] = []
    for answer in answers:
        try:
            running.append((answer, engine.stream(answer.request)))
        except AmuletError as error:
            answer.error = error
            yield answer
    try:
        while running:
            # The requests advance in lockstep, so waiting for each in turn keeps none waiting.
            for answer, stream in running:
                _grow(answer, stream)
                yield answer
            running = [pair for pair in running if not pair[0].done]
    finally:
        for _, stream in running:
            stream.close()


def _grow(answer: Answer, stream: IncrementStream) -> None:
    try:
        increment = next(stream)
    except AmuletError as error:
        answer.error = error
        return
    answer.text += increment.text
    answer.tokens += len(increment.token_ids)
    answer.finish_reason = increment.finish_reason
