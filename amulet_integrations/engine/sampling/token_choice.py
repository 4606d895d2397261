"""From the contexts' logits to one token for each request."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import DivergenceBounds, mix_bounded_contexts
from amulet_integrations.decoding.mixture import mixing_matrix
from amulet_integrations.engine.request import Policy
from amulet_integrations.engine.result import TokenLogprob, as_generation_error
from amulet_integrations.engine.sequence import Bound, Sequence
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.engine.structured.output_state import Guide
from amulet_integrations.errors import AmuletError, GenerationError, InvalidRequestError


class Pick(NamedTuple):
    """The token of one request.

    Attributes:
        token: The token.
        logprob: How likely it was, where that was asked for.
        fraction: How far guidance went, as in `Increment.guidance_fractions`.
    """

    token: int
    logprob: TokenLogprob | None = None
    fraction: float | None = None


class Mixing(NamedTuple):
    """How a batch is mixed.

    Attributes:
        matrix: The weights, shape (requests, rows); a request with a policy of its own has none.
        bounds: Their bounds.
    """

    matrix: Tensor
    bounds: DivergenceBounds


class BatchMixing:
    """How the requests of a batch are mixed, made anew only where weights or bounds have changed.

    Args:
        device: Where it is to be.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._asked: list[tuple[Weights, Bound | None]] | None = None
        self._mixing: Mixing | None = None

    def of(self, sequences: SequenceOf[Sequence]) -> Mixing:
        """How these requests are mixed for their next tokens."""
        asked = [
            (sequence.weights or (0.0,) * len(sequence.contexts), sequence.bound)
            for sequence in sequences
        ]
        if self._mixing is None or asked != self._asked:
            self._mixing = _mixing(asked, self._device)
            self._asked = asked  # last, for the tensors may not come about
        return self._mixing


def _mixing(asked: SequenceOf[tuple[Weights, Bound | None]], device: torch.device) -> Mixing:
    weights = [own for own, _ in asked]
    reference = [bound.reference if bound else own for own, bound in asked]
    max_kl = [bound.max_kl if bound else None for _, bound in asked]
    bounds = DivergenceBounds(reference, max_kl, device)
    return Mixing(mixing_matrix(weights, device), bounds)


def pick_tokens(
    sequences: SequenceOf[Sequence], logits: Tensor, mixing: Mixing
) -> list[Pick | AmuletError]:
    """Picks the next token of every request; one's failure does not touch the others.

    Args:
        sequences: The requests of the batch, in the order of their rows.
        logits: Shape (rows, vocab).
        mixing: From `BatchMixing`.

    Returns:
        For each request its token, or what went wrong with it.
    """
    mixed, matrix, parts = mix_bounded_contexts(logits, *mixing)
    fractions: list[float | None] = [None] * len(sequences)
    for index in mixing.bounds.requests:
        fractions[index] = float(parts[index])
    alone: dict[int, Pick | AmuletError] = {}
    end = 0
    for index, sequence in enumerate(sequences):
        start, end = end, end + len(sequence.contexts)
        rows, mixture = logits[start:end], mixed[index]
        try:
            policy = _policy(sequence, rows, mixture, matrix[index, start:end])
            if sequence.guide or sequence.logprobs is not None:
                alone[index] = _draw(sequence, rows, policy, fractions[index])
            elif (free := _without_end(sequence, policy)) is not mixture:
                mixed[index] = free
        except AmuletError as error:
            alone[index] = error
        except BaseException as error:  # noqa: BLE001 - also what Rust raises in a panic
            alone[index] = as_generation_error("Sampling", error)
    together = _draw_together(sequences, mixed, fractions, alone)
    return [alone[index] if index in alone else together[index] for index in range(len(sequences))]


def _draw_together(
    sequences: SequenceOf[Sequence],
    mixed: Tensor,
    fractions: SequenceOf[float | None],
    alone: Container[int],
) -> list[Pick | AmuletError]:
    """The tokens of the requests that need no more than one draw; one transfer for all."""
    highest, tokens = mixed.max(dim=-1)
    failures: dict[int, AmuletError] = {}
    for index, sequence in enumerate(sequences):
        if index not in alone and not sequence.sampler.is_argmax:
            # A row that is not a policy is reported below; sampling from it would crash a GPU.
            usable = torch.where(highest[index].isfinite(), mixed[index], 0.0)
            try:
                tokens[index] = sequence.sampler.sample(usable, sequence.completion)
            except Exception as error:  # noqa: BLE001
                failures[index] = as_generation_error("Sampling", error)
    possible, picked = torch.stack([highest.isfinite().long(), tokens]).tolist()
    return [
        failures.get(index)
        or (Pick(picked[index], None, fractions[index]) if possible[index] else _no_token())
        for index in range(len(sequences))
    ]


def _draw(sequence: Sequence, rows: Tensor, policy: Tensor, fraction: float | None) -> Pick:
    """The token of a request whose draw may have to be repeated, or that is to be told about."""
    guide, weights = sequence.guide, sequence.weights
    if guide is None:
        return _told(sequence, policy, _token(sequence, policy), fraction)
    while True:
        token = guide.take(_token(sequence, _kept_to(guide, policy)))
        if token is not None:
            return _told(sequence, policy, token, fraction)
        if guide.weights != weights:
            weights = guide.weights
            mixing = _mixing([(weights, sequence.bound)], rows.device)
            mixed, matrix, parts = mix_bounded_contexts(rows, *mixing)
            policy = _policy(sequence, rows, mixed[0], matrix[0])
            fraction = float(parts) if mixing.bounds else None


def _policy(sequence: Sequence, rows: Tensor, mixed: Tensor, weights: Tensor) -> Tensor:
    """The policy, shape (vocab,), up to a constant where a constant does not matter."""
    if sequence.policy is not None:
        try:
            mixed = _own_policy(sequence.policy, rows)
        except BaseException as error:  # noqa: BLE001 - the caller's code raises what it likes
            failure = as_generation_error("The request's own policy", error)
            # Not from here: the frames of this handler hold tensors.
            raise failure from failure.__cause__
    elif sequence.sampler.needs_log_probs and len(rows) > 1:
        # Back to what the constants were that a softmax would drop.
        mixed = mixed - weights @ torch.logsumexp(rows.to(weights.dtype), dim=-1)
    return mixed


def _without_end(sequence: Sequence, policy: Tensor) -> Tensor:
    """The policy without the tokens that end the text, as long as the text must not end."""
    if len(sequence.completion) >= sequence.min_tokens:
        return policy
    end_ids = torch.tensor(sorted(sequence.end_ids), device=policy.device)
    return policy.index_fill(0, end_ids, -torch.inf)


def _own_policy(policy: Policy, logits: Tensor) -> Tensor:
    log_policy: Tensor = policy(torch.log_softmax(logits.float(), dim=-1))
    if log_policy.shape != logits.shape[1:]:
        raise InvalidRequestError(
            f"it returned shape {tuple(log_policy.shape)}; it is called with log-probabilities "
            f"(contexts, vocab) and returns the policy's ({logits.shape[1]},)"
        )
    return log_policy


def _kept_to(guide: Guide, policy: Tensor) -> Tensor:
    allowed = torch.from_numpy(guide.allowed()).to(policy.device)
    return policy.masked_fill(~allowed, -torch.inf)


def _token(sequence: Sequence, policy: Tensor) -> int:
    policy = _without_end(sequence, policy)
    if not bool(policy.max().isfinite()):
        raise _no_token()
    if sequence.sampler.is_argmax:
        return int(policy.argmax())
    return int(sequence.sampler.sample(policy, sequence.completion))


def _told(sequence: Sequence, policy: Tensor, token: int, fraction: float | None) -> Pick:
    if sequence.logprobs is None:
        return Pick(token, None, fraction)
    logprobs = policy.double().log_softmax(dim=-1)
    top = logprobs.topk(sequence.logprobs)
    alternatives = [
        TokenLogprob(other, sequence.text_of(other), value)
        for value, other in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]
    value = float(logprobs[token])
    told = TokenLogprob(token, sequence.text_of(token), value, tuple(alternatives))
    return Pick(token, told, fraction)


def _no_token() -> GenerationError:
    return GenerationError(
        "No token can be picked: the policy is NaN, or excludes every token. The model's logits "
        "are at fault (try dtype='float32'), or the request's own policy."
    )
