"""The floor: `llama_decode` in a loop that takes the best token of each row, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amulet_integrations.engine import run_on_worker
from amulet_integrations.engine.backends.llama_cpp.llama_library import library
from benchmarks.support.timing import SECONDS, Run

CELLS = 16_384


class BareLoop:
    """Rows of one llama.cpp context. No text is read, no token drawn, no policy mixed.

    Args:
        file: A GGUF file.
        rows: The most rows.
    """

    def __init__(self, file: Path, rows: int) -> None:
        llama = self._llama = library()
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = CELLS, rows, True
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        self._model = llama.llama_model_load_from_file(
            str(file).encode(), llama.llama_model_default_params()
        )
        self._context = llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise SystemExit(f"llama.cpp could not load {file}.")
        self._vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self._batch = llama.llama_batch_init(llama.llama_n_batch(self._context), 0, 1)

    def run(self, prompts: Sequence[Sequence[int]], tokens: int) -> Run:
        """Decoding so many tokens after prompts; the reading of the prompts is not counted."""

        def run() -> dict[str, float]:
            self._read(prompts)
            return {SECONDS: self._decode(prompts, tokens)}

        return lambda: run_on_worker(run)

    def close(self) -> None:
        """Frees llama.cpp's memory."""
        self._llama.llama_batch_free(self._batch)
        self._llama.llama_free(self._context)
        self._llama.llama_model_free(self._model)

    def _read(self, prompts: Sequence[Sequence[int]]) -> None:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), False)
        for row, ids in enumerate(prompts):
            self._call([(row, place, token) for place, token in enumerate(ids[:-1])])

    def _decode(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        places = [len(ids) - 1 for ids in prompts]
        shape = (len(prompts), self._vocab)
        best = [ids[-1] for ids in prompts]
        started = time.perf_counter()
        for step in range(tokens):
            self._call([(row, places[row] + step, token) for row, token in enumerate(best)])
            logits = self._llama.llama_get_logits(self._context)
            best = np.ctypeslib.as_array(logits, shape=shape).argmax(-1).tolist()
        return time.perf_counter() - started

    def _call(self, entries: Sequence[tuple[int, int, int]]) -> None:
        batch = self._batch
        for index, (row, place, token) in enumerate(entries):
            batch.token[index], batch.pos[index] = token, place
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = 1
        batch.n_tokens = len(entries)
        if self._llama.llama_decode(self._context, batch):
            raise SystemExit("llama_decode failed.")
