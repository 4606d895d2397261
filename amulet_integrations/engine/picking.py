"""From the contexts' logits to one token for each request."""

from __future__ import annotations

import math
from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
from amulet_integrations.engine.request import Policy
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import AmuletError, GenerationError, InvalidRequestError


def weights_of(sequences: SequenceOf[Sequence], device: torch.device) -> Tensor:
    """The mixing matrix of a batch; a request with a policy of its own has none of it."""
    weights = [sequence.weights or (0.0,) * len(sequence.contexts) for sequence in sequences]
    return mixing_matrix(weights, device)


def pick_tokens(
    sequences: SequenceOf[Sequence], logits: Tensor, matrix: Tensor
) -> list[int | AmuletError]:
    """Picks the next token of every request; one's failure does not touch the others.

    Args:
        sequences: The requests of the batch, in the order of their rows.
        logits: Shape (rows, vocab).
        matrix: From `weights_of`.

    Returns:
        For each request its token, or what went wrong with it.
    """
    mixed = mix_contexts(logits, matrix)
    failures: dict[int, AmuletError] = {}
    row = 0
    for index, sequence in enumerate(sequences):
        count = len(sequence.contexts)
        if sequence.policy is not None:
            try:
                mixed[index] = _own_policy(sequence.policy, logits[row : row + count])
            except Exception as error:  # noqa: BLE001 - the caller's code may raise anything
                failures[index] = _policy_failure(error)
        row += count
    highest, tokens = mixed.max(dim=-1)
    for index, sequence in enumerate(sequences):
        if not sequence.sampler.is_argmax:
            # A row that is not a policy is reported below; sampling from it would crash a GPU.
            usable = torch.where(highest[index].isfinite(), mixed[index], 0.0)
            tokens[index] = sequence.sampler.sample(usable, sequence.completion)
    # One transfer from the device for both.
    heights, picked = torch.stack([highest.double(), tokens.double()]).tolist()
    for index, height in enumerate(heights):
        if not math.isfinite(height):
            failures.setdefault(index, _no_token())
    return [failures.get(index, int(token)) for index, token in enumerate(picked)]


def _own_policy(policy: Policy, logits: Tensor) -> Tensor:
    log_policy: Tensor = policy(torch.log_softmax(logits.float(), dim=-1))
    if log_policy.shape != logits.shape[1:]:
        raise InvalidRequestError(
            f"it returned shape {tuple(log_policy.shape)}, where the vocabulary has "
            f"{logits.shape[1]} entries"
        )
    return log_policy


def _policy_failure(error: Exception) -> GenerationError:
    failure = GenerationError(
        f"The request's own policy failed: {type(error).__name__}: {error}. It is called with "
        "log-probabilities (contexts, vocab) and returns the policy's (vocab,)."
    )
    failure.__cause__ = error
    return failure


def _no_token() -> GenerationError:
    return GenerationError(
        "No token can be picked: the policy is NaN, or excludes every token. The model's logits "
        "are at fault (try dtype='float32'), or the request's own policy."
    )
