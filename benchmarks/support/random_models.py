"""Llamas whose weights are random: a step costs what it costs whatever they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase

from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path

SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 8192,
    },
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 49_152,
        "max_position_embeddings": 8192,
    },
}
"""Sizes by their names: of eight billion weights, and to try a script with."""


def embedded_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of the embedded model, which all of them have."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(embedded_model_path())
    return tokenizer


def random_config(shape: str, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """The config of a shape."""
    return LlamaConfig(
        **SHAPES[shape],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )


@contextmanager
def folder_without_weights(shape: str) -> Iterator[str]:
    """A folder with the config and the tokenizer, for loaders that make the weights up."""
    tokenizer = embedded_tokenizer()
    with tempfile.TemporaryDirectory(prefix="amulet-random-") as folder:
        random_config(shape, tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield folder
