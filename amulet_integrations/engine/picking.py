"""From the contexts' logits to one token for each request."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
from amulet_integrations.engine.failures import as_generation_error
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
        rows = logits[row : row + len(sequence.contexts)]
        row += len(sequence.contexts)
        if sequence.policy is not None:
            try:
                mixed[index] = _own_policy(sequence.policy, rows)
            except BaseException as error:  # noqa: BLE001 - the caller's code raises what it likes
                failures[index] = as_generation_error("The request's own policy", error)
        elif sequence.sampler.needs_log_probs and len(rows) > 1:
            # Back to what the constants were that a softmax would drop.
            constants = torch.logsumexp(rows.to(matrix.dtype), dim=-1)
            mixed[index] -= matrix[index, row - len(rows) : row] @ constants
    highest, tokens = mixed.max(dim=-1)
    for index, sequence in enumerate(sequences):
        if not sequence.sampler.is_argmax:
            # A row that is not a policy is reported below; sampling from it would crash a GPU.
            usable = torch.where(highest[index].isfinite(), mixed[index], 0.0)
            try:
                tokens[index] = sequence.sampler.sample(usable, sequence.completion)
            except Exception as error:  # noqa: BLE001
                failures[index] = as_generation_error("Sampling", error)
    # One transfer from the device for both.
    possible, picked = torch.stack([highest.isfinite().long(), tokens]).tolist()
    for index, found in enumerate(possible):
        if not found:
            failures.setdefault(index, _no_token())
    return [failures.get(index, token) for index, token in enumerate(picked)]


def _own_policy(policy: Policy, logits: Tensor) -> Tensor:
    log_policy: Tensor = policy(torch.log_softmax(logits.float(), dim=-1))
    if log_policy.shape != logits.shape[1:]:
        raise InvalidRequestError(
            f"it returned shape {tuple(log_policy.shape)}; it is called with log-probabilities "
            f"(contexts, vocab) and returns the policy's ({logits.shape[1]},)"
        )
    return log_policy


def _no_token() -> GenerationError:
    return GenerationError(
        "No token can be picked: the policy is NaN, or excludes every token. The model's logits "
        "are at fault (try dtype='float32'), or the request's own policy."
    )
