"""Engines of a GGUF file for tests, and prompts for them."""

from __future__ import annotations

from pathlib import Path

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.llama_cpp.backend import LlamaCppBackend
from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from tests.support.tiny import tiny_tokenizer

EXACT = {"type_k": "f32", "type_v": "f32", "flash_attn": False}
QUESTIONS = (
    "What is the capital of France?",
    "Name three animals that can fly.",
    "Why is the sky blue?",
    "How do I boil an egg?",
)


def backend_of(file: Path, tokenizer=None, **options: object) -> LlamaCppBackend:
    model = LlamaCppModel.load(file, LlamaCppOptions(**options))
    return LlamaCppBackend(model, tokenizer or tiny_tokenizer(), model_name=file.stem)


def engine_of(file: Path, tokenizer=None, *, limits=None, **options: object) -> LocalEngine:
    return LocalEngine(backend_of(file, tokenizer, **options), **(limits or {}))


def asked(engine: LocalEngine, question: str, *, max_new_tokens: int = 24, **options):
    """A request of two contexts, with and without a preference."""
    contexts = [
        engine.tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, {"role": "user", "content": question}],
            add_generation_prompt=True,
            return_dict=False,
        )
        for system in ("You are helpful.", "You are helpful. Answer like a friendly pirate.")
    ]
    return GenerationRequest(
        contexts=contexts,
        weights=[-1.0, 2.0],
        sampling=SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0),
        **options,
    )
