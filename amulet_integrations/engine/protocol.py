"""What the rest of the package needs of an engine; it may run in another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.result import GenerationResult, Increment

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class IncrementStream(Iterator[Increment], Protocol):
    """A running request, as its caller sees it."""

    def close(self) -> None:
        """Cancels the request if it still runs; its room is free at the next step."""


class AsyncIncrementStream(Protocol):
    """The same in asyncio."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Increment: ...

    async def aclose(self) -> None:
        """Cancels the request if it still runs."""


@runtime_checkable
class Engine(Protocol):
    """Turns requests into tokens. Every method may be called from any thread."""

    @property
    def model_name(self) -> str:
        """The checkpoint, as it was asked for."""

    @property
    def fingerprint(self) -> str:
        """Tells engines apart whose answers differ; part of the keys of caches."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""

    @property
    def context_window(self) -> int:
        """Most tokens of prompt and completion together."""

    def stream(self, request: GenerationRequest) -> IncrementStream:
        """Submits a request, at once, and returns its increments as they come."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Decodes requests together."""

    def astream(self, request: GenerationRequest) -> AsyncIncrementStream:
        """`stream` for asyncio: the loop is never blocked."""

    async def agenerate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """`generate` for asyncio; cancelling the task cancels the requests."""

    def score(
        self,
        contexts: Sequence[Sequence[int]],
        completion_ids: Sequence[int],
        mixtures: Sequence[Sequence[float]] | None = None,
        *,
        max_kl: float | Sequence[float | None] | None = None,
        reference_weights: Sequence[float] | Sequence[Sequence[float]] | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Log-probabilities of a completion, token by token, float32, on the CPU.

        Under each context, (contexts, tokens); or with `mixtures`, rows of weights of shape
        (mixtures, contexts), under softmax(sum_k w_k log pi_k) for each row, (mixtures, tokens).

        `max_kl` bounds, in nats, the divergence of every token's policy from the mixture
        `reference_weights` (the second of two contexts by default): one bound for all mixtures,
        or one for each, where None is none; the references too are one or one for each. Mixtures
        of the first context alone are never bounded. The temperature divides what was mixed and
        bounded.
        """

    def close(self) -> None:
        """Ends running requests with `EngineClosedError` and frees the model."""
