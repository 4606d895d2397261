"""How likely a completion is under each context, or under mixtures of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import mix_bounded_contexts
from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
from amulet_integrations.engine.backends.base import Backend, RowInput
from amulet_integrations.engine.request import GenerationRequest

from .scored_mixtures import (
    ScoredMixture,
    SharedSearch,
    read_mixtures,
    read_temperature,
    shared_searches,
)

_CHUNK = 64  # positions whose logits are held at once
_CHUNK_OF_MIXTURES = 16  # fewer: mixing them many times takes long, and other requests wait
_MIXED_AT_ONCE = 1 << 22  # most values (mixtures times vocabulary) held at once, or in a step
_SEARCH_COST = 16  # mixtures that take as long as one search within a bound

LogProbs = Callable[[Tensor, Sequence[int]], Tensor]
"""f(logits (contexts, tokens, vocab), token ids) -> log-probabilities (rows, tokens)."""


class ScoringRequest(NamedTuple):
    """A completion, and what it is scored under.

    Attributes:
        contexts: Token ids of each context.
        completion_ids: The completion.
        mixtures: The mixtures; None scores each context.
        temperature: Divides what was mixed and bounded.
    """

    contexts: Sequence[Sequence[int]]
    completion_ids: Sequence[int]
    mixtures: Sequence[ScoredMixture] | None = None
    temperature: float = 1.0

    @classmethod
    def read(
        cls,
        contexts: Any,
        completion_ids: Any,
        mixtures: Any = None,
        *,
        max_kl: Any = None,
        reference_weights: Any = None,
        temperature: Any = 1.0,
    ) -> Self:
        """Checks the arguments of `Engine.score`.

        Raises:
            InvalidRequestError: One of them is out of its range, or does not fit the others.
        """
        # A request of the same contexts has the same rules; its completion is one context more.
        contexts = GenerationRequest(contexts=contexts, policy=len).contexts
        (completion,) = GenerationRequest(contexts=[completion_ids]).contexts
        temperature = read_temperature(temperature)
        scored = read_mixtures(
            mixtures,
            max_kl,
            reference_weights,
            contexts=len(contexts),
            temperature=temperature,
        )
        return cls(contexts, completion, scored, temperature)

    def scorer(self, device: torch.device) -> LogProbs:
        """Returns the function that scores tokens by the logits of the contexts."""
        if self.mixtures is None:
            return _context_scorer(self.temperature)
        # In one row first, for the dtype in which decoding mixes.
        row = [weight for mixture in self.mixtures for weight in mixture.weights]
        matrix = mixing_matrix([row], device).view(len(self.mixtures), -1)
        return _mixture_scorer(matrix, shared_searches(self.mixtures, device), self.temperature)


def score_in_steps(
    backend: Backend, request: ScoringRequest, *, max_prefill_tokens: int = 512
) -> Generator[Tensor, None, None]:
    """Log-probabilities of a completion, a few tokens at each step.

    Args:
        backend: The backend.
        request: The completion, its contexts and the mixtures.
        max_prefill_tokens: Most tokens of all contexts in one pass, but at least one for each.

    Yields:
        Shape (contexts, tokens of the step) or (mixtures, tokens of the step), float32, on the
        CPU. Together the steps have every token, in order.
    """
    contexts, completion_ids, mixtures, _ = request
    log_probs, chunk = request.scorer(backend.device), _CHUNK
    mixtures_a_token = 0  # the cost of a token
    if mixtures is not None:
        searches = shared_searches(mixtures, backend.device)
        chunk = _CHUNK_OF_MIXTURES
        mixtures_a_token = len(mixtures) + _SEARCH_COST * len(searches)
    needed = backend.cache_tokens([len(ids) + len(completion_ids) for ids in contexts])
    with closing(backend.new_cache(len(contexts), needed)) as cache:
        cache.add(len(contexts))
        last: dict[int, Tensor] = {}
        read = max(1, max_prefill_tokens // len(contexts))
        chunk = min(chunk, read)
        for start in range(0, max(map(len, contexts)), read):
            chunks = (ids[start : start + read] for ids in contexts)
            inputs = [RowInput(row, ids) for row, ids in enumerate(chunks) if ids]
            logits = _inferred(backend.forward, cache, inputs)
            for row_input, after in zip(inputs, logits, strict=True):
                last[row_input.row] = after
            if start:
                yield torch.empty(len(mixtures or contexts), 0)  # a turn for the other requests
        first, *rest = completion_ids
        yield _inferred(log_probs, torch.stack([last[row] for row in sorted(last)]), [first])
        # The logits that predict a token are those one position before it.
        for start in range(0, len(rest), chunk):
            predicted = rest[start : start + chunk]
            ids = completion_ids[start : start + len(predicted)]
            inputs = [RowInput(row, ids) for row in range(len(contexts))]
            following = _inferred(backend.forward, cache, inputs, len(ids))
            # Mixing may take far longer than the forward pass, and other requests wait for a step.
            mixed = mixtures_a_token * following.shape[-1]
            size = max(1, _MIXED_AT_ONCE // mixed) if mixed else len(predicted)
            for at in range(0, len(predicted), size):
                yield _inferred(log_probs, following[:, at : at + size], predicted[at : at + size])


@torch.inference_mode()
def _inferred(function: Callable[..., Any], *args: Any) -> Any:
    """Calls without gradients; never held across a `yield`, which would leak it to the caller."""
    return function(*args)


def _context_scorer(temperature: float) -> LogProbs:
    """Scores under each context by itself."""

    def log_probs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        token_ids = torch.tensor(tokens, device=logits.device).expand(len(logits), -1)
        log_policies = torch.log_softmax(_divided(logits.float(), temperature), dim=-1)
        return log_policies.gather(-1, token_ids[..., None]).squeeze(-1).cpu()

    return log_probs


def _mixture_scorer(
    matrix: Tensor, searches: Sequence[SharedSearch], temperature: float
) -> LogProbs:
    """Scores under softmax(sum_k w_k log pi_k) for each row w of `matrix`, (mixtures, contexts)."""

    def log_probs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        blocks = matrix.split(max(1, _MIXED_AT_ONCE // logits.shape[-1]))
        columns = []
        for at_token, token in zip(logits.unbind(1), tokens, strict=True):
            mixed = [
                _log_prob(mix_contexts(at_token, block), token, temperature) for block in blocks
            ]
            column = torch.cat(mixed)
            for search in searches:
                bounded, _, fractions = mix_bounded_contexts(
                    at_token, search.farthest, search.bounds
                )
                held_back = search.held_back(float(fractions)).to(column.device)
                column[held_back] = _log_prob(bounded, token, temperature)
            columns.append(column)
        return torch.stack(columns, dim=1).cpu()

    return log_probs


def _log_prob(logits: Tensor, token: int, temperature: float) -> Tensor:
    """Of one token under logits (rows, vocab); shape (rows,), float32."""
    logits = _divided(logits, temperature)
    return (logits[:, token] - logits.logsumexp(dim=-1)).float()


def _divided(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1.0 else logits / temperature
