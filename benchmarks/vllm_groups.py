"""Groups of two contexts beside as many plain requests of vLLM, in one process and one run.

    .venv-vllm/bin/python -m benchmarks.vllm_groups [--groups 1 4 8] [--tokens 64] [--rounds 5]

Each round decodes N groups, then 2N plain requests of the same prompts, greedily; prompts are in
vLLM's cache by then. A figure is plain seconds divided by group seconds, the median of the rounds.
Run it with the environment that docs/vllm.md names.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, VLLMEngine, run_on_worker
from amulet_integrations.prompting import ChatMessage, PromptBuilder

QUESTIONS = (
    "How can I fall asleep faster?",
    "What should I cook tonight?",
    "Why is the sky blue?",
    "How do I learn the piano?",
    "What is a good gift for my father?",
    "Where should I travel in May?",
    "How does a bicycle stay upright?",
    "What makes a good friend?",
)
PREFERENCE = "Answer like a friendly pirate."
WEIGHTS = (-1.0, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with VLLMEngine(
        arguments.model,
        dtype=arguments.dtype,
        enforce_eager=True,
        block_size=32,
        max_model_len=2048,
        max_num_seqs=4 * max(arguments.groups),
    ) as engine:
        for count in arguments.groups:
            for max_kl in (None, 0.1):
                _report(engine, count, max_kl, arguments)


def _report(
    engine: VLLMEngine, count: int, max_kl: float | None, arguments: argparse.Namespace
) -> None:
    requests = _requests(engine, count, max_kl, arguments.tokens)
    engine.generate(requests)  # prompts are in the cache from here on
    rounds = [
        (_seconds_of_plain(engine, requests), _seconds_of_groups(engine, requests))
        for _ in range(arguments.rounds)
    ]
    ratio = statistics.median(plain / groups for plain, groups in rounds)
    seconds = statistics.median(groups for _, groups in rounds)
    rate = count * arguments.tokens / seconds
    print(
        f"{count} groups, max_kl={max_kl}: {rate:.1f} tokens/s, {ratio:.2f} of {2 * count} plain",
        flush=True,
    )


def _requests(
    engine: VLLMEngine, count: int, max_kl: float | None, tokens: int
) -> list[GenerationRequest]:
    prompts = PromptBuilder(engine.tokenizer)
    return [
        GenerationRequest(
            contexts=prompts.contexts(
                [ChatMessage(role="user", content=QUESTIONS[number % len(QUESTIONS)])],
                [None, PREFERENCE],
            ),
            weights=WEIGHTS,
            max_kl=max_kl,
            sampling=SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens),
        )
        for number in range(count)
    ]


def _seconds_of_groups(engine: VLLMEngine, requests: list[GenerationRequest]) -> float:
    start = time.perf_counter()
    engine.generate(requests)
    return time.perf_counter() - start


def _seconds_of_plain(engine: VLLMEngine, requests: list[GenerationRequest]) -> float:
    return run_on_worker(_decode_plain, engine._loop._core._client, requests)  # noqa: SLF001


def _decode_plain(client: Any, requests: list[GenerationRequest]) -> float:
    """Decodes the same contexts as requests of vLLM's own; returns the seconds."""
    from vllm import SamplingParams as PlainParams  # noqa: PLC0415
    from vllm.v1.engine import EngineCoreRequest  # noqa: PLC0415

    start = time.perf_counter()
    tokens = requests[0].sampling.max_new_tokens
    for number, ids in enumerate(ids for request in requests for ids in request.contexts):
        client.add_request(
            EngineCoreRequest(
                request_id=f"plain-{number}",
                prompt_token_ids=list(ids),
                mm_features=None,
                sampling_params=PlainParams(
                    temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False
                ),
                pooling_params=None,
                arrival_time=time.time(),
                lora_request=None,
                cache_salt=None,
                data_parallel_rank=None,
            )
        )
    while client.engine_core.scheduler.has_requests():
        client.get_output()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
