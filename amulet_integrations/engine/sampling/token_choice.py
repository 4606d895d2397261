"""Where a token is chosen: from the contexts' logits to one token for each request.

The steps, in order:

1. mix the contexts, as far as the request's bound allows (`mix_bounded_contexts`), or call the
   request's own policy;
2. exclude the tokens that the grammar does not allow, and the end of the text before
   `min_new_tokens`;
3. repetition penalty, temperature, top-k, top-p, min-p, and the draw (`LogitsFilters.draw`). The
   penalty never admits an excluded token again, so it may run after step 2;
4. offer the token to the grammar, which may put another one in its place or ask for a new draw.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from functools import lru_cache, partial
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import DivergenceBounds, mix_bounded_contexts
from amulet_integrations.decoding.mixture import mixing_matrix
from amulet_integrations.engine.request import Policy
from amulet_integrations.engine.result import (
    TokenExplanation,
    TokenLogprob,
    as_generation_error,
)
from amulet_integrations.engine.sequence import Bound, Sequence
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.errors import AmuletError, GenerationError, InvalidRequestError

from .token_explanation import explain_token, token_logprob

_CACHED_MIXINGS = 8


class ChosenToken(NamedTuple):
    """The next token of one request.

    Attributes:
        token: The token id.
        logprob: Its log-probability, where the request asks for log-probabilities.
        fraction: How far guidance went, as in `Increment.guidance_fractions`.
        explanation: What the contexts made of it, where the request asks for that.
    """

    token: int
    logprob: TokenLogprob | None = None
    fraction: float | None = None
    explanation: TokenExplanation | None = None


class Policies(NamedTuple):
    """What the next token of one request is drawn from.

    Attributes:
        rows: The logits of its contexts, shape (contexts, vocab).
        weights: Their weights, as far as the bound let them go, shape (contexts,).
        policy: The logits of its policy, shape (vocab,).
        fraction: As in `Increment.guidance_fractions`.
    """

    rows: Tensor
    weights: Tensor
    policy: Tensor
    fraction: float | None


Mixture = tuple[Weights, Bound | None]
Mixing = Callable[[tuple[Mixture, ...]], tuple[Tensor, DivergenceBounds]]
"""f(the mixtures of a batch) -> their weights (requests, rows) and their bounds."""


def cached_mixing(device: torch.device) -> Mixing:
    """Lays out mixtures on a device, and keeps the last few for the steps that follow."""
    return lru_cache(maxsize=_CACHED_MIXINGS)(partial(_mixing, device))


def _mixing(device: torch.device, mixtures: tuple[Mixture, ...]) -> tuple[Tensor, DivergenceBounds]:
    weights = [own for own, _ in mixtures]
    reference = [bound.reference if bound else own for own, bound in mixtures]
    max_kl = [bound.max_kl if bound else None for _, bound in mixtures]
    return mixing_matrix(weights, device), DivergenceBounds(reference, max_kl, device)


def choose_tokens(
    sequences: SequenceOf[Sequence], logits: Tensor, mixing: Mixing
) -> list[ChosenToken | AmuletError]:
    """Chooses the next token of every request; one request's failure does not touch the others.

    Args:
        sequences: The requests of the batch, in the order of their rows.
        logits: Shape (rows, vocab).
        mixing: From `cached_mixing`.

    Returns:
        For each request its token, or the error that ends it.
    """
    # A request with a policy of its own has the weights 0 here; `_policy` replaces its mixture.
    matrix, bounds = mixing(
        tuple(
            (sequence.weights or (0.0,) * len(sequence.contexts), sequence.bound)
            for sequence in sequences
        )
    )
    mixed, matrix, parts = mix_bounded_contexts(logits, matrix, bounds)
    fractions: list[float | None] = [None] * len(sequences)
    for index in bounds.requests:
        fractions[index] = float(parts[index])
    choices: list[ChosenToken | AmuletError | None] = [None] * len(sequences)
    end = 0
    for index, sequence in enumerate(sequences):
        start, end = end, end + len(sequence.contexts)
        if _draws_from_mixture(sequence):
            continue
        weights = matrix[index, start:end]
        own = Policies(logits[start:end], weights, mixed[index], fractions[index])
        try:
            choices[index] = _choose_apart(sequence, own)
        except AmuletError as error:
            choices[index] = error
        except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no Exception
            choices[index] = as_generation_error("Sampling", error)
    _exclude_ends(sequences, mixed)
    chosen = _choose_together(sequences, mixed, fractions, choices)
    return _with_explanations(sequences, logits, matrix, chosen)


def _draws_from_mixture(sequence: Sequence) -> bool:
    """Whether its policy is the mixture itself, and its draw one of many."""
    return sequence.policy is None and not (
        sequence.chooses_alone or sequence.filters.needs_log_probs
    )


def _choose_apart(sequence: Sequence, mixture: Policies) -> ChosenToken | None:
    """Chooses its token, or puts its policy in the mixture's place, to be drawn from later."""
    policy = _policy(sequence, mixture.rows, mixture.policy, mixture.weights)
    if sequence.chooses_alone:
        return _choose_alone(sequence, mixture._replace(policy=policy))
    mixture.policy.copy_(policy)
    return None


def _policy(sequence: Sequence, rows: Tensor, mixture: Tensor, weights: Tensor) -> Tensor:
    """Logits of the policy, shape (vocab,); log-probabilities if a repetition penalty applies."""
    if sequence.policy is not None:
        try:
            return _own_policy(sequence.policy, rows)
        except BaseException as error:  # noqa: BLE001 - the caller's code may raise anything
            failure = as_generation_error("The request's own policy", error)
            # Raised with the cause only: the frames of this handler hold tensors.
            raise failure from failure.__cause__
    if sequence.filters.needs_log_probs and len(rows) > 1:
        # From a mixture of logits to the mixture of log-probabilities.
        return mixture - weights @ torch.logsumexp(rows.to(weights.dtype), dim=-1)
    return mixture


def _own_policy(policy: Policy, logits: Tensor) -> Tensor:
    log_policy: Tensor = policy(torch.log_softmax(logits.float(), dim=-1))
    if log_policy.shape != logits.shape[1:]:
        raise InvalidRequestError(
            f"it returned shape {tuple(log_policy.shape)}; it is called with log-probabilities "
            f"(contexts, vocab) and returns the policy's ({logits.shape[1]},)"
        )
    return log_policy


def _exclude_ends(sequences: SequenceOf[Sequence], policies: Tensor) -> None:
    """Excludes the tokens that end a text before its `min_new_tokens`, in place."""
    for index, sequence in enumerate(sequences):
        if len(sequence.completion) < sequence.min_tokens:
            for token in sequence.end_ids:
                policies[index, token] = -torch.inf


def _choose_together(
    sequences: SequenceOf[Sequence],
    policies: Tensor,
    fractions: SequenceOf[float | None],
    choices: list[ChosenToken | AmuletError | None],
) -> list[ChosenToken | AmuletError]:
    """Fills in the missing choices: a single draw each, brought from the device together."""
    tokens, usable = _likeliest(policies)
    for index, sequence in enumerate(sequences):
        if choices[index] is None and not sequence.filters.is_argmax:
            # A row that is no policy is reported below; to draw from it would crash a GPU.
            policy = torch.where(usable[index], policies[index], 0.0)
            try:
                tokens[index] = sequence.filters.draw(policy, sequence.completion)
            except Exception as error:  # noqa: BLE001
                choices[index] = as_generation_error("Sampling", error)
    return [
        choice or (ChosenToken(token, None, fraction) if is_policy else _no_token())
        for choice, token, fraction, is_policy in zip(
            choices, tokens.tolist(), fractions, usable.tolist(), strict=True
        )
    ]


def _likeliest(policies: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest tokens, shape (requests,), and whether their logits are finite."""
    if policies.device.type == "cpu":  # numpy takes a third of the time here
        values = policies.numpy()
        best = values.argmax(axis=-1).tolist()
        usable = [isfinite(values.item(row, token)) for row, token in enumerate(best)]
        return torch.tensor(best), torch.tensor(usable)
    highest, tokens = policies.max(dim=-1)
    return tokens, highest.isfinite()


def _choose_alone(sequence: Sequence, policies: Policies) -> ChosenToken:
    """Chooses for a request whose draw may be repeated, or of which more than the token is told."""
    state, weights = sequence.output_state, sequence.weights
    if state is None:
        return _chosen(sequence, policies, _draw(sequence, policies.policy))
    while True:
        policy = policies.policy
        allowed = torch.from_numpy(state.allowed_tokens()).to(policy.device)
        token = state.advance(_draw(sequence, policy.masked_fill(~allowed, -torch.inf)))
        if token is not None:
            return _chosen(sequence, policies, token)
        if state.weights != weights:
            weights = state.weights
            policies = _mixed_alone(sequence, policies.rows, weights)


def _mixed_alone(sequence: Sequence, rows: Tensor, weights: Weights) -> Policies:
    matrix, bounds = _mixing(rows.device, ((weights, sequence.bound),))
    mixed, matrix, parts = mix_bounded_contexts(rows, matrix, bounds)
    policy = _policy(sequence, rows, mixed[0], matrix[0])
    return Policies(rows, matrix[0], policy, float(parts) if bounds else None)


def _draw(sequence: Sequence, policy: Tensor) -> int:
    if len(sequence.completion) < sequence.min_tokens:
        policy = policy.clone()
        _exclude_ends([sequence], policy[None])
    if not bool(policy.max().isfinite()):
        raise _no_token()
    return int(sequence.filters.draw(policy, sequence.completion))


def _chosen(sequence: Sequence, policies: Policies, token: int) -> ChosenToken:
    """The token with what the request wants to know of it."""
    logprob = None
    if sequence.logprobs is not None:
        logprobs = policies.policy.double().log_softmax(dim=-1)
        logprob = token_logprob(sequence, logprobs, token, sequence.logprobs)
    explanation = _explain(sequence, policies.rows, policies.weights, token, policies.fraction)
    return ChosenToken(token, logprob, policies.fraction, explanation)


def _with_explanations(
    sequences: SequenceOf[Sequence],
    logits: Tensor,
    matrix: Tensor,
    chosen: list[ChosenToken | AmuletError],
) -> list[ChosenToken | AmuletError]:
    """Explains the tokens that were chosen together."""
    end = 0
    for index, (sequence, choice) in enumerate(zip(sequences, chosen, strict=True)):
        start, end = end, end + len(sequence.contexts)
        if sequence.explain is None or sequence.chooses_alone or isinstance(choice, AmuletError):
            continue
        rows, weights = logits[start:end], matrix[index, start:end]
        explanation = _explain(sequence, rows, weights, choice.token, choice.fraction)
        chosen[index] = choice._replace(explanation=explanation)
    return chosen


def _explain(
    sequence: Sequence, rows: Tensor, weights: Tensor, token: int, fraction: float | None
) -> TokenExplanation | None:
    if sequence.explain is None:
        return None
    return explain_token(
        sequence, rows, weights, token, alternatives=sequence.explain, fraction=fraction
    )


def _no_token() -> GenerationError:
    return GenerationError(
        "No token can be picked: the policy is NaN, or excludes every token. The model's logits "
        "are at fault (try dtype='float32'), or the request's own policy."
    )
