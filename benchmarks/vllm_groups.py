"""Groups of two contexts beside as many plain requests of vLLM, in one process and one run.

    .venv-vllm/bin/python -m benchmarks.vllm_groups [--groups 1 4 8] [--tokens 64] [--rounds 5]

Each round decodes N groups, then 2N plain requests of the same prompts, greedily; prompts are in
vLLM's cache by then. A figure is plain seconds divided by group seconds, the median of the rounds.
With `--stock` the same plain requests run on vLLM as it is by itself, its engine in a process of
its own. Run it with the environment that docs/vllm.md names.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from typing import Any

from transformers import PreTrainedTokenizerBase

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, VLLMEngine, run_on_worker
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.random_models import SHAPES, embedded_tokenizer, folder_without_weights

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
    parser.add_argument("--random", choices=SHAPES, help="a model of random weights instead")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--graphs", action="store_true", help="compiled, with CUDA graphs")
    parser.add_argument("--stock", action="store_true", help="plain requests on vLLM by itself")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        model, options = arguments.model, _options(arguments)
        if arguments.random:
            model = stack.enter_context(folder_without_weights(arguments.random))
            options["load_format"] = "dummy"
        if arguments.stock:
            _report_stock(model, options, arguments)
            return
        engine = stack.enter_context(VLLMEngine(model, **options))
        runner = "V2" if engine._loop._core._started.config.use_v2_model_runner else "V1"  # noqa: SLF001
        print(f"{engine!r}, model runner {runner}, enforce_eager={not arguments.graphs}")
        for count in arguments.groups:
            for max_kl in (None, 0.1):
                _report(engine, count, max_kl, arguments)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "dtype": arguments.dtype,
        "enforce_eager": not arguments.graphs,
        "block_size": 32,
        "max_model_len": 2048,
        "max_num_seqs": 4 * max(arguments.groups),
    }


def _report_stock(model: str, options: dict[str, Any], arguments: argparse.Namespace) -> None:
    """The same contexts on vLLM's own engine, with nothing of ours."""
    from vllm import LLM, TokensPrompt  # noqa: PLC0415
    from vllm import SamplingParams as PlainParams  # noqa: PLC0415

    llm = LLM(str(embedded_model_path()) if model == "embedded" else model, **options)
    params = PlainParams(temperature=0.0, max_tokens=arguments.tokens, ignore_eos=True)
    for count in arguments.groups:
        requests = _requests(embedded_tokenizer(), count, None, arguments.tokens)
        prompts = [
            TokensPrompt(prompt_token_ids=list(ids))
            for request in requests
            for ids in request.contexts
        ]
        seconds = []
        for _ in range(1 + arguments.rounds):
            start = time.perf_counter()
            llm.generate(prompts, params, use_tqdm=False)
            seconds.append(time.perf_counter() - start)
        spent = statistics.median(seconds[1:])  # prompts are in the cache from the first on
        print(f"{2 * count} plain requests on vLLM by itself: {spent:.3f} s", flush=True)


def _report(
    engine: VLLMEngine, count: int, max_kl: float | None, arguments: argparse.Namespace
) -> None:
    requests = _requests(engine.tokenizer, count, max_kl, arguments.tokens)
    engine.generate(requests)  # prompts are in the cache from here on
    rounds = [
        (_seconds_of_plain(engine, requests), _seconds_of_groups(engine, requests))
        for _ in range(arguments.rounds)
    ]
    ratio = statistics.median(plain / groups for plain, groups in rounds)
    seconds = statistics.median(groups for _, groups in rounds)
    rate = count * arguments.tokens / seconds
    print(
        f"{count} groups, max_kl={max_kl}: {seconds:.3f} s, {rate:.1f} tokens/s, "
        f"{ratio:.2f} of {2 * count} plain",
        flush=True,
    )


def _requests(
    tokenizer: PreTrainedTokenizerBase, count: int, max_kl: float | None, tokens: int
) -> list[GenerationRequest]:
    prompts = PromptBuilder(tokenizer)
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
