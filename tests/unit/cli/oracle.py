"""What the engine itself answers, from prompts and weights made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.decoding import SamplingParams, preference_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.prompting import ChatMessage, PromptBuilder

SCALE, BOUND = PRESETS["default"]
DEFAULT = preference_weights(SCALE, [1.0])


def answer(
    engine: LocalEngine,
    turns: Sequence[str],
    preference: str | None = None,
    weights: tuple[float, float] = (1.0, 0.0),
    *,
    max_tokens: int = 12,
    max_kl: float | None = BOUND,
) -> str:
    """The answer to turns that alternate between user and assistant, the user's last."""
    messages = [
        ChatMessage(role="assistant" if place % 2 else "user", content=content)
        for place, content in enumerate(turns)
    ]
    texts = [None] if preference is None else [None, preference]
    request = GenerationRequest(
        contexts=PromptBuilder(engine.tokenizer).contexts(messages, texts),
        weights=weights[: len(texts)],
        max_kl=None if preference is None else max_kl,
        sampling=SamplingParams(max_new_tokens=max_tokens),
    )
    return engine.generate([request])[0].text


def visible(text: str) -> str:
    """Text as terminals show it: with signs in place of the control characters."""
    return "".join(chr(0x2400 + ord(it)) if it < " " and it not in "\n\t" else it for it in text)
