"""The rivals: LangChain's and LlamaIndex's own wrappers around llama.cpp, as users call them.

They have one context. Like the engine they keep the prompt that they read last, and run with as
many threads as there are cores; by themselves they would take half of them, and batches of eight.
"""

from __future__ import annotations

import os
import time
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from benchmarks.support.peers import is_installed
from benchmarks.support.timed_answers import FIRST, STEP

N_CTX = 8192


class LlamaPeers:
    """Who else runs a GGUF file. A wrapper that is not installed is None.

    Args:
        file: The file.
        tokens: Tokens of every answer.
    """

    def __init__(self, file: Path, tokens: int) -> None:
        self.tokens = tokens
        self._file = str(file)
        self._options = {"n_threads": os.cpu_count(), "verbose": False}

    @cached_property
    def chat_llama_cpp(self) -> Any:
        """LangChain's wrapper."""
        if not is_installed("langchain_community", "ChatLlamaCpp"):
            return None
        with warnings.catch_warnings():  # it is no longer maintained, and says so
            warnings.simplefilter("ignore")
            from langchain_community.chat_models import ChatLlamaCpp  # noqa: PLC0415
        return ChatLlamaCpp(
            model_path=self._file,
            n_ctx=N_CTX,
            n_batch=512,
            temperature=0.0,
            max_tokens=self.tokens,
            **self._options,
        )

    @cached_property
    def llama_cpp(self) -> Any:
        """LlamaIndex's wrapper."""
        if not is_installed("llama_index.llms.llama_cpp", "LlamaCPP"):
            return None
        from llama_index.llms.llama_cpp import LlamaCPP  # noqa: PLC0415

        return LlamaCPP(
            model_path=self._file,
            context_window=N_CTX,
            temperature=0.0,
            max_new_tokens=self.tokens,
            model_kwargs=self._options,
            verbose=False,
        )

    def invoke(self, messages: list[BaseMessage]) -> None:
        """An answer of LangChain's wrapper."""
        answer = self.chat_llama_cpp.invoke(messages)
        self._check(self.chat_llama_cpp.client, answer.content)

    def complete(self, prompt: str) -> None:
        """An answer of LlamaIndex's wrapper, to a prompt with the template applied."""
        answer = self.llama_cpp.complete(prompt, formatted=True)
        self._check(self.llama_cpp._model, answer.text)  # noqa: SLF001

    def stream_anew(self, messages: list[BaseMessage]) -> dict[str, float]:
        """The times of a stream of LangChain's wrapper, which has to read the prompt anew."""
        self.chat_llama_cpp.client.reset()
        started = time.perf_counter()
        chunks = self.chat_llama_cpp.stream(messages)
        stamps = [time.perf_counter() for chunk in chunks if chunk.content]
        steps = max(1, len(stamps) - 1)
        return {FIRST: stamps[0] - started, STEP: (stamps[-1] - stamps[0]) / steps}

    def _check(self, client: Any, text: str) -> None:
        """A text may have a token or two less than were decoded, and no more."""
        found = len(client.tokenize(text.encode(), add_bos=False))
        if found < self.tokens - 3:
            raise SystemExit(f"llama-cpp-python ended its answer after {found} tokens.")
