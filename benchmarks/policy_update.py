"""The policy update at a large vocabulary: the closed form beside the 60 iterations."""

from __future__ import annotations

import torch

from amulet_integrations import AmuletParams
from amulet_integrations.decoding import (
    amulet_policy,
    amulet_weights,
    ftrl_policy,
    mix_contexts,
    mixing_matrix,
)
from amulet_integrations.engine import run_on_worker
from benchmarks.timing import median_seconds

VOCABULARY = 152_064
REPEATS = 10


def measure() -> dict[str, float]:
    """Milliseconds of one update: the engine's mixture, the closed form, the iterations."""
    params = AmuletParams()
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(0))
    matrix = mixing_matrix([amulet_weights(params)])
    updates = {
        "mixture": lambda: mix_contexts(logits, matrix),
        "closed form": lambda: amulet_policy(logits[0], logits[1], params),
        "60 iterations": lambda: ftrl_policy(logits[0], logits[1], params),
    }
    rivals = {
        name: lambda update=update: run_on_worker(lambda: [update() for _ in range(REPEATS)])
        for name, update in updates.items()
    }
    with torch.inference_mode():
        seconds = median_seconds(rivals)
    milliseconds = {f"{name} ms": 1000 * s / REPEATS for name, s in seconds.items()}
    return {
        **milliseconds,
        "60 iterations / mixture": seconds["60 iterations"] / seconds["mixture"],
        "60 iterations / closed form": seconds["60 iterations"] / seconds["closed form"],
    }
