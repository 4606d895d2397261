"""What a process takes for the embedded model and its users, on llama.cpp and on torch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

from amulet_integrations.engine import LocalEngine
from amulet_integrations.prompting import PromptBuilder
from benchmarks.components.memory import PROMPT, STATUS, all_running, give_heap_back, resident
from benchmarks.components.memory import TOKENS as BESIDE
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import POETIC, pair, story_prompt
from benchmarks.support.timed_answers import NO_REUSE, guided_request
from benchmarks.support.timing import FULL, Effort, Figures

from .gguf_files import gguf_file, has_llama_cpp

USERS = 8
CACHE_TOKENS = 28_000
DTYPES = ("float32", "bfloat16")
LOADED, RUNNING = "loaded", f"with {USERS} users"
PLOTS = [
    Bars(
        f"Memory of {USERS} users with prompts of 1,000 tokens",
        "MB",
        {
            who: f"{who}, {RUNNING} MB"
            for who in ("llama.cpp", *(f"torch {dtype}" for dtype in DTYPES))
        },
    )
]


def measure(kind: str, effort: Effort = FULL) -> Figures:
    """Megabytes that a process grows by: when the model is loaded, and when its users run.

    llama.cpp takes the memory for keys and values when the engine is made. All engines have the
    same limit of tokens.

    Args:
        kind: The type of the file's weights.
        effort: How much is measured.
    """
    if not has_llama_cpp():
        return {}
    if not STATUS.exists():
        print("  Left out: this system has no /proc.")
        return {}
    prompt = 100 if effort.quick else PROMPT
    figures: dict[str, float] = {}
    with gguf_file(kind) as file:
        sources = {
            "llama.cpp": {"model": str(file)},
            **{f"torch {dtype}": {"dtype": dtype} for dtype in DTYPES},
        }
        for who, source in sources.items():
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as process:
                loaded, running = process.submit(_growth, source, prompt).result()
            figures[f"{who}, {LOADED} MB"] = loaded / 1e6
            figures[f"{who}, {RUNNING} MB"] = running / 1e6
    return figures


def _growth(source: Mapping[str, str], prompt: int) -> tuple[int, int]:
    """By how many bytes this process grew when the model was loaded, and with its users."""
    before = resident()
    limits = {**NO_REUSE, "max_cache_tokens": CACHE_TOKENS}
    with LocalEngine.from_pretrained(**source, **limits) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        engine.generate([guided_request(*pair(prompts, "Hello.", POETIC), 2)])
        give_heap_back()
        loaded = resident() - before
        texts = [story_prompt(engine.tokenizer, prompt, seed) for seed in range(USERS)]
        requests = [guided_request(*pair(prompts, text, POETIC), BESIDE) for text in texts]
        with all_running(engine, requests):
            running = resident() - before
    return loaded, running
