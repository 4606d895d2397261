"""The rivals: transformers' own generate, and the wrappers of LangChain and LlamaIndex around it.

All share one loaded model. Where a rival works on the thread that calls it, that is the worker
thread of this process, since torch decodes slower on a second thread. The streams and `batch` of
the wrappers have threads of their own: that is their affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.generation.streamers import BaseStreamer

from amulet_integrations.engine import run_on_worker
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from benchmarks.support.timed_answers import FIRST, STEP
from benchmarks.support.timing import Run


class Peers:
    """The embedded model as transformers loads it, and who else can run it.

    Args:
        dtype: What to decode in.
        tokens: Tokens of every answer.
    """

    def __init__(self, dtype: str, tokens: int) -> None:
        path = embedded_model_path()
        self.tokens = tokens
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
        self.model: PreTrainedModel = run_on_worker(
            lambda: AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
        )

    def generate(self, *contexts: list[int], **options: Any) -> Run:
        """`model.generate` for one prompt, or for several in one padded batch."""

        def run() -> dict[str, float]:
            stamps = _Stamps() if len(contexts) == 1 and not options else None
            started = time.perf_counter()
            with torch.inference_mode():
                ids, mask = _padded(contexts, self._answer_length["pad_token_id"])
                output = self.model.generate(
                    ids, attention_mask=mask, streamer=stamps, **self._answer_length, **options
                )
            if output.shape[1] - ids.shape[1] != self.tokens:
                raise SystemExit("generate ended its answer early.")
            if stamps is None:
                return {}
            first, *_, last = stamps.times
            return {FIRST: first - started, STEP: (last - first) / max(1, self.tokens - 1)}

        return lambda: run_on_worker(run)

    @cached_property
    def chat_hugging_face(self) -> Any:
        """LangChain's wrapper; None where it is not installed."""
        if not is_installed("langchain_huggingface", "ChatHuggingFace"):
            return None
        from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline  # noqa: PLC0415
        from transformers import pipeline  # noqa: PLC0415

        generator = pipeline(
            "text-generation", model=self.model, tokenizer=self.tokenizer, **self._answer_length
        )
        name = self.tokenizer.name_or_path
        llm = HuggingFacePipeline(pipeline=generator, model_id=name)
        return ChatHuggingFace(llm=llm, tokenizer=self.tokenizer, model_id=name)

    @cached_property
    def hugging_face_llm(self) -> Any:
        """LlamaIndex's wrapper; None where it is not installed."""
        if not is_installed("llama_index.llms.huggingface", "HuggingFaceLLM"):
            return None
        from llama_index.llms.huggingface import HuggingFaceLLM  # noqa: PLC0415

        options = {key: self._answer_length[key] for key in ("do_sample", "min_new_tokens")}
        return HuggingFaceLLM(
            model=self.model,
            tokenizer=self.tokenizer,
            context_window=8192,
            max_new_tokens=self.tokens,
            generate_kwargs={**options, "pad_token_id": self._answer_length["pad_token_id"]},
        )

    @property
    def _answer_length(self) -> dict[str, Any]:
        return {
            "do_sample": False,
            "min_new_tokens": self.tokens,
            "max_new_tokens": self.tokens,
            "pad_token_id": self.tokenizer.eos_token_id,
        }


def present(rivals: Mapping[str, Callable[[], Any] | None]) -> dict[str, Run]:
    """Those rivals that are installed; what they return is not looked at."""
    return {name: _silent(run) for name, run in rivals.items() if run is not None}


def on_worker(peer: Any, call: Callable[[Any], Any]) -> Run | None:
    """A call of a peer on the worker thread; None where there is no peer."""
    return None if peer is None else lambda: run_on_worker(_silent(lambda: call(peer)))


def on_own_threads(peer: Any, call: Callable[[Any], Any]) -> Run | None:
    """A call of a peer that has threads of its own; None where there is no peer."""
    return None if peer is None else _silent(lambda: call(peer))


class _Stamps(BaseStreamer):
    """When `generate` had each token."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._prompt_came = False

    def put(self, value: object) -> None:  # noqa: ARG002
        if self._prompt_came:
            self.times.append(time.perf_counter())
        self._prompt_came = True

    def end(self) -> None:
        pass


def _silent(run: Callable[[], Any]) -> Run:
    def silently() -> Mapping[str, float] | None:
        measured = run()
        return measured if isinstance(measured, dict) else None

    return silently


def _padded(contexts: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, contexts))
    rows = [[pad] * (width - len(ids)) + ids for ids in contexts]
    masks = [[0] * (width - len(ids)) + [1] * len(ids) for ids in contexts]
    return torch.tensor(rows), torch.tensor(masks)


def is_installed(package: str, rival: str) -> bool:
    """Whether a rival's package is there; says so where it is not."""
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is not there
        found = False
    if not found:
        print(f"  {rival} is left out: {package} is not installed.")
    return found
