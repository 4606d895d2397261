"""What the rest of the package needs of an engine, which may run in another process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from .request import GenerationRequest
from .result import GenerationResult, Increment

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class IncrementStream(Iterator[Increment], Protocol):
    """A running request, as its caller sees it."""

    def close(self) -> None:
        """Cancels the request if it still runs; its rows are free at the next step."""


class AsyncIncrementStream(Protocol):
    """A running request in asyncio, as its caller sees it."""

    def __aiter__(self) -> AsyncIterator[Increment]: ...

    async def __anext__(self) -> Increment: ...

    async def aclose(self) -> None:
        """Cancels the request if it still runs."""


@runtime_checkable
class Engine(Protocol):
    """Turns requests into tokens. Every method may be called from any thread.

    An engine may also have `warm_up()`, which does ahead what the first request would wait for;
    `validate(request)`, which raises what `stream` would raise for a request that it refuses; and
    `supports_explain = True`, if it answers requests with `explain` as `LocalEngine` does; and
    `backend_name`, what computes, such as "transformers" or "llama_cpp", which answers then report.
    """

    @property
    def model_name(self) -> str:
        """The checkpoint's name, as the caller gave it."""

    @property
    def fingerprint(self) -> str:
        """Equal for engines that give equal answers; part of the keys of caches."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""

    @property
    def context_window(self) -> int:
        """Most tokens of prompt and completion together."""

    def stream(self, request: GenerationRequest) -> IncrementStream:
        """Submits a request at once and returns its increments as they come."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Decodes requests together."""

    def astream(self, request: GenerationRequest) -> AsyncIncrementStream:
        """`stream` for asyncio, which never blocks the loop."""

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

        Without `mixtures`, each context is scored by itself, (contexts, tokens). `mixtures` are
        rows of weights, (mixtures, contexts), and each row w scores under
        softmax(sum_k w_k log pi_k), (mixtures, tokens).

        `max_kl` bounds, in nats, the divergence of every token's policy from the mixture
        `reference_weights`, by default the second of two contexts. Both are given once for all
        mixtures or once for each; a bound of None is none. Mixtures of the first context alone are
        never bounded. The temperature divides the mixed and bounded log-probabilities.
        """

    def close(self) -> None:
        """Ends running requests with `EngineClosedError` and frees the model."""
