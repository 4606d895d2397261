"""Several requests, decoded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amulet_integrations.decoding.strength import Method
from amulet_integrations.errors import AmuletError

if TYPE_CHECKING:
    from amulet_integrations.engine import Engine, FinishReason, GenerationRequest
    from amulet_integrations.engine.protocol import IncrementStream


@dataclass
class StreamedAnswer:
    """One answer, as far as it has come.

    Attributes:
        method: How it is decoded.
        strength: How strongly the preference is applied, for people.
        request: The request for the engine.
        text: The text so far.
        tokens: How many tokens so far.
        finish_reason: Set once the answer is complete.
        error: Set if the answer failed.
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

    def read_next(self, stream: IncrementStream) -> None:
        """Adds the next increment of its stream."""
        try:
            increment = next(stream)
        except AmuletError as error:
            self.error = error
            return
        self.text += increment.text
        self.tokens += len(increment.token_ids)
        self.finish_reason = increment.finish_reason


def stream_many(engine: Engine, answers: Sequence[StreamedAnswer]) -> None:
    """Decodes answers together and updates each as it grows.

    An answer that fails has its error set and does not affect the others. Any other exception, such
    as Ctrl-C, cancels all.
    """
    running: list[tuple[StreamedAnswer, IncrementStream]] = []
    try:
        for answer in answers:
            try:
                running.append((answer, engine.stream(answer.request)))
            except AmuletError as error:
                answer.error = error
        while running:
            # The requests advance in lockstep, so waiting for each in turn delays none.
            for answer, stream in running:
                answer.read_next(stream)
            running = [pair for pair in running if not pair[0].done]
    finally:
        for _, stream in running:
            stream.close()
