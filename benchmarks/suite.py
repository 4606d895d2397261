"""Every benchmark by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from transformers.utils import logging

from benchmarks.components import grammar, memory, policy_update, profile_reads
from benchmarks.llama_cpp import gguf_memory, gguf_prompts, gguf_turns, gguf_users
from benchmarks.llama_cpp.gguf_files import KINDS
from benchmarks.speed import (
    explained,
    gpu,
    grounded_answers,
    hostile,
    one_user,
    prompt_lengths,
    published,
    served,
    streams,
    turns,
    users,
)
from benchmarks.support.plots import Plot
from benchmarks.support.timing import Effort, Figures

DTYPES = ("float32", "bfloat16")


class Benchmark(NamedTuple):
    """One benchmark.

    Attributes:
        measure: Returns the figures.
        plots: How they are drawn.
    """

    measure: Callable[[Effort], Figures]
    plots: Sequence[Plot]


SUITE: dict[str, Benchmark] = {
    **{
        f"{name}, {dtype}": Benchmark(partial(module.measure, dtype), module.PLOTS)
        for name, module, dtypes in (
            ("one user", one_user, DTYPES),
            ("published algorithm", published, DTYPES),
            ("streams", streams, DTYPES),
            ("serve", served, DTYPES[:1]),
            ("users", users, DTYPES),
            ("turns", turns, DTYPES[:1]),
            ("prompt lengths", prompt_lengths, DTYPES[:1]),
            ("memory", memory, DTYPES[:1]),
            ("hostile", hostile, DTYPES[:1]),
            ("grounded answers", grounded_answers, DTYPES),
        )
        for dtype in dtypes
    },
    **{
        f"llama cpp {name}, {kind}": Benchmark(partial(module.measure, kind), module.PLOTS)
        for name, module, kinds in (
            ("users", gguf_users, KINDS),
            ("prompts", gguf_prompts, KINDS[:1]),
            ("conversation", gguf_turns, KINDS[:1]),
            ("memory", gguf_memory, KINDS[:1]),
        )
        for kind in kinds
    },
    "explained": Benchmark(partial(explained.measure, DTYPES[0]), ()),
    "policy update": Benchmark(policy_update.measure, policy_update.PLOTS),
    "grammar": Benchmark(grammar.measure, ()),
    "reading a profile": Benchmark(profile_reads.measure, ()),
    "gpu": Benchmark(gpu.measure, gpu.PLOTS),
}


def select_benchmarks(words: Sequence[str]) -> list[str]:
    """The benchmarks whose names have one of the words in them; without words all."""
    wanted = [word.replace("_", " ").lower() for word in words]
    return [name for name in SUITE if not wanted or any(word in name for word in wanted)]


def measure(name: str, effort: Effort) -> Figures:
    """Measures one benchmark, in a process of its own."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return SUITE[name].measure(effort)
