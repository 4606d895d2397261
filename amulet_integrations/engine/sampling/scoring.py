"""How likely a completion is under each context, or under mixtures of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain
from numbers import Real
from sys import float_info
from typing import Any

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import mix_bounded_contexts
from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
from amulet_integrations.engine.backends.base import Backend, RowInput
from amulet_integrations.engine.sampling.score_bounds import Ray, ScoreBounds, rays_of
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.errors import InvalidRequestError

_CHUNK = 64  # positions whose logits are held at once
_CHUNK_OF_MIXTURES = 16  # fewer, for each is mixed many times and other requests wait meanwhile
_HELD = 1 << 22  # most values (mixtures times vocabulary) held at once; in a step, times tokens
_SEARCH = 16  # mixtures that take as long as the search for how far a bound lets others go
_LARGEST_WEIGHT = 1e6  # past it the rounding of log-probabilities counts for whole nats

LogProbs = Callable[[Tensor, Sequence[int]], Tensor]
"""f(logits (contexts, tokens, vocab), token ids) -> log-probabilities (rows, tokens)."""


def score_in_steps(
    backend: Backend,
    contexts: Sequence[Sequence[int]],
    completion_ids: Sequence[int],
    mixtures: Sequence[Weights] | None = None,
    *,
    bounds: ScoreBounds | None = None,
    temperature: float = 1.0,
    max_prefill_tokens: int = 512,
) -> Generator[Tensor, None, None]:
    """Log-probabilities of a completion, a few tokens at each step.

    Args:
        backend: The backend.
        contexts: Token ids of each context.
        completion_ids: The completion.
        mixtures: Rows of weights, one weight for each context; None scores each context.
        bounds: The mixtures' bounds; None for none.
        temperature: Divides what was mixed and bounded.
        max_prefill_tokens: Most tokens of all contexts in one pass, if that is one for each.

    Yields:
        Shape (contexts, tokens of the step) or (mixtures, tokens of the step), float32, on the
        CPU. Together the steps have every token, in order.
    """
    log_probs, chunk = _of_contexts(temperature), _CHUNK
    costs = 0  # of a token, in mixtures
    if mixtures is not None:
        # As one request's weights first, so that they get the type that decoding mixes with.
        flat = mixing_matrix([[*chain.from_iterable(mixtures)]], backend.device)
        rays = [] if bounds is None else rays_of(mixtures, bounds, backend.device)
        log_probs = _of_mixtures(flat.view(len(mixtures), -1), rays, temperature)
        chunk, costs = _CHUNK_OF_MIXTURES, len(mixtures) + _SEARCH * len(rays)
    with closing(backend.new_cache()) as cache:
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
            mixed = costs * following.shape[-1]
            size = max(1, _HELD // mixed) if mixed else len(predicted)
            for at in range(0, len(predicted), size):
                yield _inferred(log_probs, following[:, at : at + size], predicted[at : at + size])


def read_temperature(temperature: Any) -> float:
    """Checks a temperature that policies are divided by.

    Raises:
        InvalidRequestError: Not a finite number above 0, or so near to 0 that log-probabilities
            lose their digits.
    """
    is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not is_number or not 1.0 / _LARGEST_WEIGHT <= temperature <= float_info.max:
        raise InvalidRequestError(
            f"temperature={temperature!r}: give a finite number above 0, of at least "
            f"{1.0 / _LARGEST_WEIGHT:g}; below it log-probabilities lose their digits."
        )
    return float(temperature)


def read_mixtures(mixtures: Any, contexts: int, temperature: float = 1.0) -> tuple[Weights, ...]:
    """Checks rows of weights; they may come as nested sequences, arrays or tensors.

    Args:
        mixtures: The rows.
        contexts: How many contexts there are: the width of each row.
        temperature: What they are divided by after all.

    Raises:
        InvalidRequestError: No row, a row of another width, or a weight that is not finite or is
            past a million in size, before or after the temperature divides it.
    """
    rows = mixtures.tolist() if hasattr(mixtures, "tolist") else mixtures
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes) or not rows:
        raise InvalidRequestError(
            f"mixtures={mixtures!r}: give at least one row of weights, or None to score each "
            "context."
        )
    largest = _LARGEST_WEIGHT * min(1.0, temperature)
    return tuple(
        _read_row(f"mixtures[{index}]", row, contexts, largest) for index, row in enumerate(rows)
    )


def _read_row(name: str, row: Any, contexts: int, largest: float) -> Weights:
    row = row.tolist() if hasattr(row, "tolist") else row
    if not isinstance(row, Sequence) or isinstance(row, str | bytes):
        raise InvalidRequestError(f"{name}={row!r}: give a row of {contexts} weights.")
    if len(row) != contexts:
        raise InvalidRequestError(
            f"{name} has {len(row)} weights for {contexts} contexts; give one for each."
        )
    for weight in row:
        is_number = not isinstance(weight, bool) and isinstance(weight, Real)
        # Not math.isfinite, which fails for an integer that no float holds.
        if not is_number or weight != weight or abs(weight) == math.inf:  # noqa: PLR0124 - NaN
            raise InvalidRequestError(
                f"{name} holds the weight {weight!r}; weights are finite numbers."
            )
        if abs(weight) > largest:
            raise InvalidRequestError(
                f"{name} holds a weight past {largest:,.0f} in size, where "
                "log-probabilities lose their digits. Use a weaker guidance scale or a higher "
                "temperature."
            )
    return tuple(map(float, row))


@torch.inference_mode()
def _inferred(function: Callable[..., Any], *args: Any) -> Any:
    """Calls without gradients; never held across a `yield`, which would leak it to the caller."""
    return function(*args)


def _of_contexts(temperature: float) -> LogProbs:
    """Scores under each context by itself."""

    def of(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        picked = torch.tensor(tokens, device=logits.device).expand(len(logits), -1)
        log_probs = torch.log_softmax(_divided(logits.float(), temperature), dim=-1)
        return log_probs.gather(-1, picked[..., None]).squeeze(-1).cpu()

    return of


def _of_mixtures(matrix: Tensor, rays: Sequence[Ray], temperature: float) -> LogProbs:
    """Scores under softmax(sum_k w_k log pi_k) for each row w of `matrix`, (mixtures, contexts)."""

    def of(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        blocks = matrix.split(max(1, _HELD // logits.shape[-1]))
        columns = []
        for at, token in zip(logits.unbind(1), tokens, strict=True):
            mixed = [_log_prob(mix_contexts(at, block), token, temperature) for block in blocks]
            column = torch.cat(mixed)
            for ray in rays:
                bounded, _, fractions = mix_bounded_contexts(at, ray.farthest, ray.bounds)
                held = ray.held(float(fractions)).to(column.device)
                column[held] = _log_prob(bounded, token, temperature)
            columns.append(column)
        return torch.stack(columns, dim=1).cpu()

    return of


def _log_prob(logits: Tensor, token: int, temperature: float) -> Tensor:
    """Of one token under logits (rows, vocab); shape (rows,), float32."""
    logits = _divided(logits, temperature)
    return (logits[:, token] - logits.logsumexp(dim=-1)).float()


def _divided(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1.0 else logits / temperature
