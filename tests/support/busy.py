"""What tests of many callers share: requests that all differ, and the memory they may take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.prompting import ChatMessage, PromptBuilder

WEIGHTS = amulet_weights(AmuletParams(iterations=2))
STATM = Path("/proc/self/statm")


def good_requests(
    engine: LocalEngine, questions: Sequence[str], preferences: Sequence[str], tokens: int
) -> list[GenerationRequest]:
    """Every question with every preference."""
    prompts = PromptBuilder(engine.tokenizer)
    return [
        GenerationRequest(
            contexts=prompts.contexts([ChatMessage(role="user", content=question)], [None, text]),
            weights=WEIGHTS,
            sampling=SamplingParams(max_new_tokens=tokens),
        )
        for question in questions
        for text in preferences
    ]


def resident_memory() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(STATM.read_text().split()[1]) * 4096
