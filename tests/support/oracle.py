"""The slow obvious way to decode: no cache, no padding, no batch, one context at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def slow_greedy(
    model: PreTrainedModel,
    contexts: Sequence[Sequence[int]],
    weights: Sequence[float],
    tokens: int,
    end_id: int = 1,
) -> list[int]:
    """Greedy tokens of a mixture, in float64 from the logits on."""
    completion: list[int] = []
    while len(completion) < tokens and completion[-1:] != [end_id]:
        mixed = torch.zeros(1)
        for context, weight in zip(contexts, weights, strict=True):
            ids = torch.tensor([[*context, *completion]])
            with torch.no_grad():
                logits = model(ids).logits[0, -1].double()
            mixed = mixed + weight * logits.log_softmax(-1)
        completion.append(int(mixed.argmax()))
    return completion
