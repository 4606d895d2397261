"""The slow obvious way to learn: plain forward passes, a float64 softmax, sums over fine grids."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.tiny import tiny_model, tiny_tokenizer

model, tokenizer = cache(tiny_model), cache(tiny_tokenizer)


@cache
def log_probs(question: str, text: str | None, answer: str) -> torch.Tensor:
    """Under one preference, at every token of an answer: (tokens, vocab), float64."""
    messages = [ChatMessage(role="user", content=question)]
    (context,) = PromptBuilder(tokenizer()).contexts(messages, [text])
    ids = tokenizer()(answer)["input_ids"]
    with torch.no_grad():
        logits = model()(torch.tensor([[*context, *ids]])).logits[0]
    return logits[len(context) - 1 : -1].double().log_softmax(-1)


def log_likelihood(
    question: str,
    answer: str,
    preferences: list[tuple[str, float]],
    scale: float,
    *,
    temperature: float = 1.0,
    slip: float = 0.0,
    max_kl: float | None = None,
) -> float:
    """Of an answer, as plain text, under preferences with weights that need no sharing out."""
    base = log_probs(question, None, answer)
    way = sum(weight * (log_probs(question, text, answer) - base) for text, weight in preferences)
    mixed = base + bounded_scales(base, way, scale, max_kl) * way
    picked = torch.tensor(tokenizer()(answer)["input_ids"])[:, None]
    by_mixture, by_base = (
        (row / temperature).log_softmax(-1).gather(-1, picked) for row in (mixed, base)
    )
    return float(((1.0 - slip) * by_mixture.exp() + slip * by_base.exp()).log().sum())


def bounded_scales(
    base: torch.Tensor, way: torch.Tensor | int, scale: float, max_kl: float | None
) -> torch.Tensor:
    """How strong each token's guidance is, (tokens, 1): the scale, or less where a bound binds."""
    scales = torch.full((len(base), 1), scale, dtype=torch.float64)
    if max_kl is None:
        return scales
    pref = (base + way).log_softmax(-1)
    low, high = torch.ones_like(scales), scales
    for _ in range(30):
        middle = (low + high) / 2.0
        policy = (base + middle * way).log_softmax(-1)
        within = (policy.exp() * (policy - pref)).sum(-1, keepdim=True) <= max_kl
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    return low


def interval(grid: NDArray, curve: NDArray, level: float) -> tuple[float, float]:
    """Equal-tailed, under a uniform prior over a fine grid."""
    density = np.exp(curve - curve.max())
    mass = np.cumsum(density) / density.sum()
    tail = (1.0 - level) / 2.0
    low, high = (grid[np.searchsorted(mass, share)] for share in (tail, 1.0 - tail))
    return float(low), float(high)


def log_mean(curve: NDArray) -> float:
    """The log of the mean of exp(curve) over an even grid, by trapezoids."""
    weights = np.ones(len(curve))
    weights[[0, -1]] = 0.5
    return float(curve.max() + np.log((np.exp(curve - curve.max()) @ weights) / weights.sum()))
