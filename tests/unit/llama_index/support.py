"""What the engine answers to a request that is written by hand: the oracle of these tests."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage as LlamaMessage

from amulet_integrations import PreferenceProfile, SamplingParams
from amulet_integrations.decoding import preference_weights
from amulet_integrations.decoding.strength import PRESETS, Preset
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.profiles import InMemoryProfileStore
from amulet_integrations.prompting import ChatMessage, PromptBuilder

QUESTION = "What is the sea?"
TOKENS = 12
ANN, BOB = "Be brief, says zebra.", "Tell me about blue whales."


def engine_result(
    engine: LocalEngine,
    preference: str | None = None,
    turns: Sequence[tuple[str, str]] = (("user", QUESTION),),
    strength: Preset = PRESETS["default"],
) -> GenerationResult:
    """Amulet on two contexts, or plain decoding without a preference."""
    messages = [ChatMessage(role=role, content=content) for role, content in turns]
    prompts = PromptBuilder(engine.tokenizer)
    sampling = SamplingParams(max_new_tokens=TOKENS)
    max_kl = None
    if preference is None:
        contexts, weights = prompts.contexts(messages, [None]), [1.0]
    else:
        contexts = prompts.contexts(messages, [None, preference])
        weights = preference_weights(strength.guidance_scale, [1.0])
        max_kl = strength.max_kl
    request = GenerationRequest(
        contexts=contexts, weights=weights, max_kl=max_kl, sampling=sampling
    )
    return engine.generate([request])[0]


def store_of_two() -> InMemoryProfileStore:
    """Ann and Bob."""
    store = InMemoryProfileStore()
    store.save(PreferenceProfile(user_id="ann", preferences=[ANN]))
    store.save(PreferenceProfile(user_id="bob", preferences=[BOB]))
    return store


def small_llm(engine: LocalEngine, **settings: object) -> AmuletLLM:
    """An AmuletLLM of few tokens."""
    return AmuletLLM(**{"engine": engine, "max_tokens": TOKENS, **settings})


def chat_messages(*turns: tuple[str, str]) -> list[LlamaMessage]:
    """LlamaIndex's messages of these roles and texts."""
    return [LlamaMessage(role=role, content=content) for role, content in turns]
