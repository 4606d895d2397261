"""Answers that a user of a known taste would write: sampled with that taste at a known strength."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations import SamplingParams
from amulet_integrations.decoding import preference_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.learning import Example
from amulet_integrations.prompting import ChatMessage, PromptBuilder


def accepted_answers(
    engine: LocalEngine,
    questions: Sequence[str],
    text: str,
    scale: float,
    *,
    seed: int,
    tokens: int,
    temperature: float = 1.0,
    max_kl: float | None = None,
) -> list[Example]:
    """One answer to each question under a preference; blank ones are left out."""
    prompts = PromptBuilder(engine.tokenizer)
    requests = [
        GenerationRequest(
            contexts=prompts.contexts([ChatMessage(role="user", content=question)], [None, text]),
            weights=preference_weights(scale, [1.0]),
            max_kl=max_kl,
            sampling=SamplingParams(
                max_new_tokens=tokens, temperature=temperature, seed=1000 * seed + place
            ),
        )
        for place, question in enumerate(questions)
    ]
    return [
        Example(question=question, accepted=result.text, complete=result.finish_reason == "stop")
        for question, result in zip(questions, engine.generate(requests), strict=True)
        if result.text.strip()
    ]
