"""Short and long prompts: the first token and a step, on llama.cpp and on torch, all read anew."""

from __future__ import annotations

from contextlib import ExitStack

from langchain_core.messages import HumanMessage, SystemMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.prompting import PromptBuilder
from benchmarks.speed.prompt_lengths import LENGTHS, TOKENS
from benchmarks.support.peers import on_worker, present
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import POETIC, pair, pref_system, story_prompt
from benchmarks.support.timed_answers import (
    FIRST,
    NO_REUSE,
    STEP,
    guided_request,
    plain_request,
    run_together,
)
from benchmarks.support.timing import FULL, Effort, Figure, Figures, Run, timed_rounds

from .gguf_files import gguf_file, has_llama_cpp
from .llama_peers import LlamaPeers

AMULET, ONE_CONTEXT, TORCH, STREAM = "Amulet", "one context", "torch float32", "ChatLlamaCpp.stream"
PLOTS = [
    Lines(
        title,
        "prompt tokens",
        axis,
        {
            name: {length: f"{length} tokens, {name} {what} ms" for length in LENGTHS}
            for name in (AMULET, ONE_CONTEXT, TORCH, STREAM)
        },
    )
    for title, axis, what in (
        ("Reading a prompt on llama.cpp", "time to first token, ms", FIRST),
        ("A step after a prompt on llama.cpp", "decode step, ms", STEP),
    )
]


def measure(kind: str, effort: Effort = FULL) -> Figures:
    """Milliseconds to the first token, and from one to the next.

    Args:
        kind: The type of the file's weights.
        effort: How much is measured.
    """
    if not has_llama_cpp():
        return {}
    tokens = effort.tokens(TOKENS)
    figures: dict[str, Figure | float] = {}
    with ExitStack() as stack:
        file = stack.enter_context(gguf_file(kind))
        engine = stack.enter_context(LocalEngine.from_pretrained(str(file), **NO_REUSE))
        torch_engine = stack.enter_context(LocalEngine.from_pretrained(dtype="float32", **NO_REUSE))
        peers = LlamaPeers(file, tokens)
        for length in effort.some(LENGTHS):
            rivals = _rivals(engine, torch_engine, peers, length, tokens)
            warm_up = length == LENGTHS[0]  # reading thousands of tokens is warm enough
            measured = timed_rounds(rivals, effort.rounds, warm_up=warm_up)
            for name, of in measured.items():
                for what in (FIRST, STEP):
                    figures[f"{length} tokens, {name} {what} ms"] = Figure.of(
                        1000 * s for s in of[what]
                    )
                    if name != AMULET:
                        figures[f"{length} tokens, {what}, {AMULET} / {name}"] = Figure.ratio(
                            measured[AMULET][what], of[what]
                        )
    return figures


def _rivals(
    engine: LocalEngine, torch_engine: LocalEngine, peers: LlamaPeers, length: int, tokens: int
) -> dict[str, Run]:
    question = story_prompt(engine.tokenizer, length)
    base, pref = pair(PromptBuilder(engine.tokenizer), question, POETIC)
    guided, plain = guided_request(base, pref, tokens), plain_request(pref, tokens)
    messages = [SystemMessage(pref_system(POETIC)), HumanMessage(question)]
    return present(
        {
            AMULET: lambda: run_together(engine, [guided]),
            ONE_CONTEXT: lambda: run_together(engine, [plain]),
            TORCH: lambda: run_together(torch_engine, [guided]),
            STREAM: on_worker(peers.chat_llama_cpp, lambda _: peers.stream_anew(messages)),
        }
    )
