"""How likely a completion is under each context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amulet_integrations.engine.runner import ModelRunner

_CHUNK = 64  # positions whose logits are held at once


@torch.inference_mode()
def score_completion(
    runner: ModelRunner, contexts: Sequence[Sequence[int]], completion_ids: Sequence[int]
) -> Tensor:
    """Log-probabilities of a completion, token by token, under each context.

    Returns:
        Shape (contexts, tokens), float32, on the CPU.
    """
    rows, last = runner.prefill(contexts)
    first, *rest = completion_ids
    pieces = [_log_probs(last[:, None], [first])]
    # The logits that predict a token are those one position before it.
    for start in range(0, len(rest), _CHUNK):
        predicted = rest[start : start + _CHUNK]
        following = runner.extend(rows, completion_ids[start : start + len(predicted)])
        pieces.append(_log_probs(following, predicted))
    return torch.cat(pieces, dim=1)


def _log_probs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Of each token under the logits (contexts, tokens, vocab) that predict it."""
    picked = torch.tensor(tokens, device=logits.device).expand(len(logits), -1)
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    return log_probs.gather(-1, picked[..., None]).squeeze(-1).cpu()
