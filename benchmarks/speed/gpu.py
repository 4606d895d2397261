"""A model of eight billion weights on a GPU: a paired step, a plain one, and the floor of both.

The weights are random and made from the config alone: a step costs what it costs whatever they are.
To decode a token every weight that takes part has to be read once; the floor is what that takes at
the bandwidth with which this GPU copies.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.engine import LocalEngine, run_on_worker
from benchmarks.support.plots import Bars
from benchmarks.support.random_models import embedded_tokenizer, random_config
from benchmarks.support.timed_answers import (
    NO_REUSE,
    STEP,
    guided_request,
    plain_request,
    run_together,
)
from benchmarks.support.timing import FULL, Effort, Figure, Figures, timed_rounds

PROMPT = 512
TOKENS = 128
COPIED = 2 << 30
COPIES = 20
NEEDED = 24 << 30
FLOOR = "reading the weights once"
PAIRED, PLAIN = "paired step", "plain step"
STEPS = (PAIRED, PLAIN, f"{PAIRED}, recorded", f"{PLAIN}, recorded")
PLOTS = [
    Bars(
        "A step of eight billion weights",
        "ms",
        {name: f"{name} ms" for name in (*STEPS, FLOOR)},
    )
]


def measure(effort: Effort = FULL) -> Figures:
    """Milliseconds of a decode step, paired and plain, and their ratio to the floor."""
    if not torch.cuda.is_available():
        print("  Left out: torch finds no CUDA device.")
        return {}
    free, _ = torch.cuda.mem_get_info()
    if free < NEEDED:
        print(f"  Left out: {free / 2**30:.0f} GiB are free on the device, 24 are needed.")
        return {}
    tokens = effort.tokens(TOKENS)
    tokenizer = embedded_tokenizer()
    model = run_on_worker(_random_model, tokenizer)
    weights = _bytes_read(model)
    bandwidth = Figure.of(run_on_worker(_copy_bandwidth) for _ in range(effort.rounds))
    base = [3 + number % 40_000 for number in range(PROMPT)]
    pref = [*base[:20], *range(100, 140), *base[20:]]
    workloads = [guided_request(base, pref, tokens)], [plain_request(base, tokens)]
    with (
        LocalEngine(model, tokenizer, **NO_REUSE) as engine,
        LocalEngine(model, tokenizer, cuda_graphs=True, **NO_REUSE) as recorded,
    ):
        runs = [
            partial(run_together, each, requests)
            for each in (engine, recorded)
            for requests in workloads
        ]
        measured = timed_rounds(dict(zip(STEPS, runs, strict=True)), effort.rounds)
    steps = {name: measured[name][STEP] for name in STEPS}
    floor = weights / bandwidth.value
    return {
        "weights read, GB": weights / 1e9,
        "bandwidth of copying, GB/s": Figure(*(speed / 1e9 for speed in bandwidth)),
        f"{FLOOR} ms": 1000 * floor,
        **{f"{name} ms": Figure.of(1000 * s for s in times) for name, times in steps.items()},
        f"{PAIRED} / {PLAIN}": Figure.ratio(steps[PAIRED], steps[PLAIN]),
        **{
            f"{name} / {FLOOR}": Figure.of(s / floor for s in times)
            for name, times in steps.items()
        },
    }


def _random_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = random_config("8b", tokenizer)
    with torch.device("cuda"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def _bytes_read(model: PreTrainedModel) -> int:
    """Of one step: all weights but the embeddings, of which only the rows of the tokens are."""
    embeddings = model.get_input_embeddings().weight
    return sum(
        weight.numel() * weight.element_size()
        for weight in model.parameters()
        if weight is not embeddings
    )


@torch.inference_mode()
def _copy_bandwidth() -> float:
    """Bytes a second that go through the memory, read and written, when a tensor is copied."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(COPIES):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * COPIED * COPIES / (time.perf_counter() - started)
