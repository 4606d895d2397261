"""Memory for each further user: what keys and values take, and what the process grows by."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig

from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import POETIC, pair, story_prompt
from benchmarks.support.timed_answers import NO_REUSE, guided_request
from benchmarks.support.timing import FULL, Effort, Figures

COUNTS = (1, 2, 4, 8)
PROMPT = 1_000
TOKENS = 256  # more than the others need to be read: nobody is done before all have begun
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
STATUS = Path("/proc/self/status")
PLOTS = [
    Lines(
        "Memory of users with prompts of 1,000 tokens",
        "users at once",
        "MB",
        {
            "measured growth of the process": {n: f"{n} users, growth MB" for n in COUNTS},
            "keys and values": {n: f"{n} users, keys and values MB" for n in COUNTS},
        },
    )
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Bytes of a context token, and megabytes of users with prompts of about 1,000 tokens."""
    config = AutoConfig.from_pretrained(embedded_model_path())
    each = bytes_per_token(config, ITEM_BYTES[dtype])
    figures = {"keys and values, bytes a context token": float(each)}
    if not STATUS.exists():
        print("  The growth is left out: this system has no /proc.")
        return figures
    prompt = 100 if effort.quick else PROMPT
    for count in effort.some(COUNTS):
        # A process for each, because what was given back to the heap is not seen to grow again.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            growth, tokens = process.submit(_growth, dtype, count, prompt).result()
        figures[f"{count} users, growth MB"] = growth / 1e6
        figures[f"{count} users, keys and values MB"] = each * tokens / 1e6
        figures[f"{count} users, growth MB a user"] = growth / 1e6 / count
    return figures


def bytes_per_token(config: PreTrainedConfig, item: int) -> int:
    """Bytes of the keys and values of one token, in all layers."""
    heads = config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * item


def _growth(dtype: str, users: int, prompt: int) -> tuple[int, int]:
    """By how many bytes this process grew, and how many tokens its users' contexts held."""
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        engine.generate(
            [guided_request(*pair(prompts, "Hello.", POETIC), 2)]
        )  # what is made but once
        requests = [
            guided_request(
                *pair(prompts, story_prompt(engine.tokenizer, prompt, seed), POETIC), TOKENS
            )
            for seed in range(users)
        ]
        give_heap_back()
        before = resident()
        with all_running(engine, requests):
            growth = resident() - before
        tokens = sum(len(ids) for request in requests for ids in request.contexts)
    return growth, tokens


@contextmanager
def all_running(engine: LocalEngine, requests: Sequence[GenerationRequest]) -> Iterator[None]:
    """While all requests have a first token, and none of them has ended."""
    streams = [engine.stream(request) for request in requests]
    for stream in streams:
        for increment in stream:
            if increment.token_ids:
                break
    yield
    for stream in streams:
        stream.close()


def give_heap_back() -> None:
    """Or else what loading the model left in the heap is used first, and no growth is seen."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def resident() -> int:
    """Bytes of this process in main memory."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])
