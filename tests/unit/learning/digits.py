"""An engine that writes digits: its policies are known, and so is the strength of every answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from amulet_integrations.learning import Example
from tests.support.tiny import tiny_tokenizer

QUESTION = "Which digits?"
DIGITS = "0123456789"  # none of them is ever merged with another into one token
EVEN, LARGE, ODD = "Even ones.", "Large ones.", "Odd ones."
TASTES = {
    EVEN: np.where(np.arange(10) % 2 == 0, 0.5, -0.5),
    ODD: np.where(np.arange(10) % 2 == 0, -0.5, 0.5),
    LARGE: np.linspace(-1.0, 1.0, 10),
}


class DigitsEngine:
    """Scores digits: all alike in the base context, by taste in the others.

    Attributes:
        calls: How often `score` was called.
    """

    model_name = fingerprint = "digits"
    context_window = 640

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        self.calls = 0

    def score(
        self,
        contexts: Sequence[Sequence[int]],
        completion_ids: Sequence[int],
        mixtures: Sequence[Sequence[float]] | None = None,
    ) -> Tensor:
        self.calls += 1
        assert mixtures is not None
        logits = np.array([self._logits(ids) for ids in contexts])
        policies = log_softmax(np.array(mixtures) @ log_softmax(logits))
        digits = [DIGITS.index(self.tokenizer.decode([token])) for token in completion_ids]
        return torch.tensor(policies[:, digits], dtype=torch.float32)

    def _logits(self, ids: Sequence[int]) -> np.ndarray:
        text = self.tokenizer.decode(ids)
        return sum((logits for taste, logits in TASTES.items() if taste in text), np.zeros(10))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def drawn(taste: str | None, scale: float, seed: int, *, examples: int = 10) -> list[str]:
    """Answers of 20 digits each."""
    logits = scale * TASTES[taste] if taste else np.zeros(10)
    generator = np.random.default_rng(seed)
    shares = np.exp(log_softmax(logits))
    return ["".join(generator.choice(list(DIGITS), 20, p=shares)) for _ in range(examples)]


def accepted(taste: str | None, scale: float, seed: int, *, examples: int = 10) -> list[Example]:
    """Examples with such answers."""
    return [
        Example(question=QUESTION, accepted=answer)
        for answer in drawn(taste, scale, seed, examples=examples)
    ]
