"""An engine that writes digits: its policies are known, and so is the strength of every answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

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
        mixtures: Sequence[Sequence[float]],
        *,
        max_kl: Sequence[float | None],
        reference_weights: Sequence[Sequence[float]],
        temperature: float,
    ) -> Tensor:
        self.calls += 1
        rows = log_softmax(np.array([self._logits(ids) for ids in contexts]))
        mixed = [
            bounded(np.array(reference) @ rows, np.array(weights) @ rows, bound)
            for weights, reference, bound in zip(mixtures, reference_weights, max_kl, strict=True)
        ]
        policies = log_softmax(np.array(mixed) / temperature)
        digits = [DIGITS.index(self.tokenizer.decode([token])) for token in completion_ids]
        return torch.tensor(policies[:, digits], dtype=torch.float32)

    def _logits(self, ids: Sequence[int]) -> np.ndarray:
        text = self.tokenizer.decode(ids)
        return sum((logits for taste, logits in TASTES.items() if taste in text), np.zeros(10))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def bounded(reference: np.ndarray, guided: np.ndarray, max_kl: float | None) -> np.ndarray:
    """The logits furthest from a reference, towards the guided ones, that keep a bound."""
    if max_kl is None:
        return guided
    return reference + fraction(reference.tobytes(), guided.tobytes(), max_kl) * (
        guided - reference
    )


@cache
def fraction(reference: bytes, guided: bytes, max_kl: float) -> float:
    """How far towards the guided logits that is, from 0 to 1, by bisection."""
    start, end = np.frombuffer(reference), np.frombuffer(guided)
    low, high = 0.0, 1.0
    for at in (1.0, *[None] * 50):
        middle = (low + high) / 2.0 if at is None else at
        policy = log_softmax(start + middle * (end - start))
        within = np.exp(policy) @ (policy - log_softmax(start)) <= max_kl
        low, high = (middle, high) if within else (low, middle)
    return low


def drawn(
    taste: str | None,
    scale: float,
    seed: int,
    *,
    examples: int = 10,
    max_kl: float | None = None,
) -> list[str]:
    """Answers of 20 digits each."""
    logits = scale * TASTES[taste] if taste else np.zeros(10)
    if taste:
        logits = bounded(TASTES[taste], logits, max_kl)
    generator = np.random.default_rng(seed)
    shares = np.exp(log_softmax(logits))
    return ["".join(generator.choice(list(DIGITS), 20, p=shares)) for _ in range(examples)]


def accepted(taste: str | None, scale: float, seed: int, **options: Any) -> list[Example]:
    """Examples with such answers."""
    answers = drawn(taste, scale, seed, **options)
    return [Example(question=QUESTION, accepted=answer) for answer in answers]
