"""With no parameter but a preference, answers stay as good as those of the prompt alone."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import LocalEngine
from tests.support.defaults import (
    Figures,
    ask_langchain,
    ask_llama_index,
    broken,
    figures_of,
    means,
)

pytestmark = pytest.mark.model

TOKENS = 32
PREFERENCES = (
    "Answer like a friendly pirate.",
    "Use only words that a child of six knows.",
)
QUESTIONS = (
    "What is the capital of France?",
    "How do plants make their food?",
    "Why is the sky blue?",
)


async def test_answers_at_the_default_strength_are_not_broken(
    embedded_engine: LocalEngine,
) -> None:
    pref: list[Figures] = []
    default: list[Figures] = []
    for preference in PREFERENCES:
        asked = (embedded_engine, QUESTIONS, TOKENS)
        plain = await ask_langchain(*asked, preference=preference, method="pref")
        answers = await ask_langchain(*asked, preference=preference)
        for answer in answers:
            assert (answer.told["guidance_scale"], answer.told["max_kl"]) == PRESETS["default"]
        for found, texts in (pref, plain), (default, answers):
            found += [
                figures_of(embedded_engine, question, preference, answer)
                for question, answer in zip(QUESTIONS, texts, strict=True)
            ]
    others = await ask_llama_index(*asked, preference=preference)
    assert [answer.text for answer in others] == [answer.text for answer in answers]
    assert broken(default) <= broken(pref) + 1
    assert means(default).nll <= means(pref).nll + 0.15
    assert means(default).ratio > means(pref).ratio
