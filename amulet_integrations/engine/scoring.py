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
    pieces = []
    for start in range(0, len(completion_ids), _CHUNK):
        chunk = list(completion_ids[start : start + _CHUNK])
        following = runner.extend(rows, chunk)
        # The logits that predict a token are those one position before it.
        predicting = torch.cat([last[:, None], following[:, :-1]], dim=1)
        log_probs = torch.log_softmax(predicting.float(), dim=-1)
        picked = torch.tensor(chunk, device=runner.device).expand(len(contexts), -1)
        pieces.append(log_probs.gather(-1, picked[..., None]).squeeze(-1).cpu())
        last = following[:, -1]
    return torch.cat(pieces, dim=1)
