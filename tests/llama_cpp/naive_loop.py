"""The obvious way to a mixture's tokens on llama.cpp: a context of its own for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from llama_cpp import llama_cpp


class NaiveLoop:
    """Reads a prompt at once and then token by token. No batches, no shared or kept prefixes."""

    def __init__(self, file: Path, **context_params: object) -> None:
        self._model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        assert self._model
        self._params = llama_cpp.llama_context_default_params()
        self._params.n_ctx, self._params.n_threads, self._params.n_threads_batch = 1024, 2, 2
        for name, value in context_params.items():
            setattr(self._params, name, value)
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._size = llama_cpp.llama_vocab_n_tokens(vocab)

    def logits(self, prompt: Sequence[int], completion: Sequence[int]) -> np.ndarray:
        """After the prompt and after each token but the last; shape (tokens, vocab)."""
        context = llama_cpp.llama_init_from_model(self._model, self._params)
        try:
            pieces = [[*prompt], *([token] for token in completion[:-1])]
            return np.stack([self._append(context, ids) for ids in pieces])
        finally:
            llama_cpp.llama_free(context)

    def log_policies(
        self,
        contexts: Sequence[Sequence[int]],
        weights: Sequence[float],
        completion: Sequence[int],
    ) -> np.ndarray:
        """The mixture before each token of a completion, up to a constant; float64."""
        rows = [self.logits(ids, completion).astype(np.float64) for ids in contexts]
        return sum(weight * _log_softmax(row) for weight, row in zip(weights, rows, strict=True))

    def close(self) -> None:
        llama_cpp.llama_model_free(self._model)

    def _append(self, context: object, ids: list[int]) -> np.ndarray:
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids))) == 0
        values = llama_cpp.llama_get_logits_ith(context, -1)
        return np.ctypeslib.as_array(values, shape=(self._size,)).copy()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
