"""What the contract suites check: engines and backends, with a slow loop that is right."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amulet_integrations import SamplingParams
from amulet_integrations.engine import Backend, Engine, GenerationRequest, LocalEngine, VLLMEngine
from amulet_integrations.engine.backends.llama_cpp.backend import LlamaCppBackend
from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.engine.backends.transformers.backend import TransformersBackend
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_model, tiny_tokenizer

BAD = 3  # a token that the failing backends cannot compute
MIXTURES = [
    ([1], [1.0]),
    ([9, 14], [-1.0, 2.0]),
    ([30, 2, 11], [-0.5, 2.0, -0.5]),
]


@dataclass
class Subject:
    """An engine, and the obvious way to its logits.

    Attributes:
        logits_after: The logits after some tokens, shape (vocab,), without a cache.
        engine: Makes an engine with limits of `EngineLimits`.
        block_size: Kept prefixes end at multiples of it.
        completions: The completions that were computed already.
    """

    logits_after: Callable[[Sequence[int]], Tensor]
    engine: Callable[..., Engine]
    block_size: int = 1
    completions: dict[Any, list[int]] = field(default_factory=dict)

    def log_probs(
        self, contexts: Sequence[Sequence[int]], weights: Sequence[float], completion: Sequence[int]
    ) -> Tensor:
        rows = [self.logits_after([*ids, *completion]).double().log_softmax(-1) for ids in contexts]
        mixed = torch.tensor(weights, dtype=torch.float64) @ torch.stack(rows)
        return mixed.log_softmax(-1)

    def greedy(self, request: GenerationRequest) -> list[int]:
        key = request.contexts, request.weights or (1.0,), request.sampling.max_new_tokens
        if key not in self.completions:
            contexts, weights, max_tokens = key
            completion: list[int] = []
            while len(completion) < max_tokens and completion[-1:] != [1]:
                completion.append(int(self.log_probs(contexts, weights, completion).argmax()))
            self.completions[key] = completion
        return self.completions[key]


class BackendSubject(Subject):
    """A backend of `LocalEngine`.

    Args:
        make: Makes the backend; one that fails on `BAD` if its argument is true.
        logits_after: As in `Subject`.
    """

    def __init__(
        self, make: Callable[..., Backend], logits_after: Callable[[Sequence[int]], Tensor]
    ) -> None:
        super().__init__(logits_after, self._engine)
        self.make = make

    def _engine(self, *, failing: bool = False, **limits: int) -> LocalEngine:
        return LocalEngine(self.make(failing), **limits)


def table_subject() -> BackendSubject:
    backend = TableBackend(tiny_tokenizer())
    return BackendSubject(
        lambda failing: TableBackend(tiny_tokenizer(), BAD if failing else None),
        backend.logits_after,
    )


def transformers_subject() -> BackendSubject:
    model = tiny_model()

    def make(failing: bool) -> Backend:
        own = tiny_model()
        forward = own.forward

        @wraps(forward)
        def fails(*args, input_ids, **options):
            if failing and (input_ids == BAD).any():
                raise ValueError(f"no logits after token {BAD}")
            return forward(*args, input_ids=input_ids, **options)

        own.forward = fails
        return TransformersBackend(own, tiny_tokenizer(), model_name="tiny")

    def logits_after(ids: Sequence[int]) -> Tensor:
        with torch.no_grad():
            return model(torch.tensor([[*ids]])).logits[0, -1]

    return BackendSubject(make, logits_after)


@cache
def tiny_gguf() -> Path:
    """A file with the tiny model."""
    from tests.llama_cpp.tiny_gguf import write_tiny_gguf  # gguf is not in every environment

    folder = Path(tempfile.mkdtemp(prefix="amulet-gguf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_tiny_gguf(folder / "tiny.gguf", tiny_model())


def llama_cpp_backend(failing: bool = False, *, file: Path | None = None) -> Backend:
    """The tiny model on llama.cpp, as exact as it can be."""
    options = LlamaCppOptions(type_k="f32", type_v="f32", flash_attn=False, n_batch=32, n_ubatch=32)
    model = LlamaCppModel.load(file or tiny_gguf(), options)
    backend = LlamaCppBackend(model, tiny_tokenizer(), model_name="tiny")
    if failing:
        backend.forward, backend.decode = map(failing_on_bad, (backend.forward, backend.decode))
    return backend


def failing_on_bad(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def fails(cache, inputs, logits_to_keep=1):
        if any(BAD in each.ids for each in inputs):
            raise ValueError(f"no logits after token {BAD}")
        return function(cache, inputs, logits_to_keep)

    return fails


def llama_cpp_subject() -> BackendSubject:
    model = tiny_model()

    def logits_after(ids: Sequence[int]) -> Tensor:
        with torch.no_grad():
            return model(torch.tensor([[*ids]])).logits[0, -1]

    return BackendSubject(llama_cpp_backend, logits_after)


BACKENDS = {
    "table": table_subject,
    "transformers": transformers_subject,
    "llama_cpp": llama_cpp_subject,
}


def require(name: str) -> None:
    """Skips the tests of an engine that is not installed."""
    if name == "vllm" and find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; `make test-vllm` installs it")
    if name == "llama_cpp" and find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed; `make test-llama-cpp` installs it")


_VLLM_BLOCK = 32  # what vLLM's kernels for CPUs have
_VLLM_WINDOW = 320
_VLLM_HEAD = 32


def vllm_options(**limits: int) -> dict[str, Any]:
    """vLLM's arguments for the limits of `EngineLimits`, quick to start with on a CPU."""
    step, tokens = limits.get("max_prefill_tokens", 64), limits.get("max_cache_tokens", 3200)
    return {
        "dtype": "float32",
        "enforce_eager": True,
        "block_size": _VLLM_BLOCK,
        "max_num_batched_tokens": step,
        "max_num_seqs": limits.get("max_rows", min(16, step)),
        "max_waiting": limits.get("max_waiting", 4096),
        "max_model_len": min(_VLLM_WINDOW, tokens),
        "num_gpu_blocks_override": tokens // _VLLM_BLOCK + 1,
        "enable_prefix_caching": limits.get("max_prefix_tokens", 1) > 0,
    }


@cache
def vllm_folder() -> str:
    """A folder with a tiny model whose heads are large enough for vLLM's kernels."""
    folder = tempfile.mkdtemp(prefix="amulet-tiny-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny_model(head_dim=_VLLM_HEAD).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def vllm_subject() -> Subject:
    model = tiny_model(head_dim=_VLLM_HEAD)

    def logits_after(ids: Sequence[int]) -> Tensor:
        with torch.no_grad():
            return model(torch.tensor([[*ids]])).logits[0, -1]

    return Subject(
        logits_after,
        lambda **limits: VLLMEngine(vllm_folder(), **vllm_options(**limits)),
        _VLLM_BLOCK,
    )


ENGINES = {**BACKENDS, "vllm": vllm_subject}


def tokens(seed: int, length: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(4, 500) for _ in range(length)]


def request_of(lengths, weights, *, seed=0, max_new_tokens=12, **options) -> GenerationRequest:
    return GenerationRequest(
        contexts=[tokens(100 * seed + index, length) for index, length in enumerate(lengths)],
        weights=weights,
        sampling=SamplingParams(max_new_tokens=max_new_tokens),
        **options,
    )


def requests() -> list[GenerationRequest]:
    return [
        request_of(lengths, weights, seed=seed, max_new_tokens=6 + 5 * seed)
        for seed, (lengths, weights) in enumerate(MIXTURES)
    ]


def token_ids(stream) -> list[int]:
    return [token for increment in stream for token in increment.token_ids]
