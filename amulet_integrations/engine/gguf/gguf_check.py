"""Refuses GGUF files that hold no language model, or not all of one, before anything loads them."""

from __future__ import annotations

from math import inf
from pathlib import Path

from amulet_integrations.errors import MissingDependencyError, UnsupportedModelError

from .gguf_header import GGUFHeader, read_header
from .split_files import part_files

_AGAIN = "Download it again."
_WHOLE = "Give the GGUF file of a language model that generates text"
_KINDS = {
    "adapter": "a LoRA adapter, not a whole model. Merge it into its base model (llama-export-lora "
    "of llama.cpp), and give the result",
    "mmproj": "the vision or audio projector (mmproj) of a model, not the model. Give the file of "
    "the language model beside it",
    "imatrix": "an importance matrix, which is used to quantize models",
    "vocab": "a vocabulary without weights",
}
_PROJECTORS = frozenset({"clip", "mmproj"})
_ENCODERS = frozenset(
    {
        *("bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "modern-bert", "eurobert"),
        *("jina-bert-v2", "jina-bert-v3", "gemma-embedding", "t5", "t5encoder"),
        "wavtokenizer-dec",
    }
)
_MOST_LAYERS = 512  # of llama.cpp's
_RANK = 4  # of llama.cpp's kinds of pooling
_CLASSIFIERS = ("cls.weight", "cls.output.weight")


def check_model_file(path: Path) -> GGUFHeader:
    """Refuses a file that llama.cpp or transformers would stumble over, and reads its header.

    Args:
        path: The file; of a model in parts, the first.

    Returns:
        The header of the file, the first of several.

    Raises:
        ModelNotFoundError: A part of the model is missing.
        UnsupportedModelError: A file is no GGUF file, is damaged or cut short; or it holds an
            adapter, a projector, a vocabulary, an encoder, an embedding model or a reranker.
        MissingDependencyError: The package gguf is not installed.
    """
    header = read_header(path)
    check_kind(header)
    check_numbers(header)
    parts = part_files(header)
    for part in parts:
        check_extents(header if part == path else read_header(part))
    if not header.tensors and len(parts) == 1:
        raise _refused(header, _KINDS["vocab"])
    return header


def check_kind(header: GGUFHeader) -> None:
    """Refuses what is no language model that generates text.

    Raises:
        UnsupportedModelError: The message says what it is.
    """
    kind, family = header.value("general.type", "model"), header.architecture
    if kind in _KINDS:
        raise _refused(header, _KINDS[kind])
    if header.value("adapter.type", ""):
        raise _refused(header, _KINDS["adapter"])
    if family in _PROJECTORS:
        raise _refused(header, _KINDS["mmproj"])
    if not family:
        raise _refused(header, "a file that names no general.architecture")
    if family in _ENCODERS:
        raise _refused(header, f"a model of the family {family!r}, which is an encoder. {_WHOLE}")
    if header.of_model("pooling_type", 0) == _RANK or any(
        name in header.tensors for name in _CLASSIFIERS
    ):
        raise _refused(header, f"a reranker or classifier. {_WHOLE}")
    if header.of_model("pooling_type", 0) or not header.of_model("attention.causal", default=True):
        raise _refused(header, f"an embedding model. {_WHOLE}")
    if not header.vocab_size or header.value("tokenizer.ggml.model", "none") in {
        "none",
        "no_vocab",
    }:
        raise _refused(header, "a model without a vocabulary: tokenizer.ggml.tokens is missing")
    if header.of_model("context_length", 0) < 1:
        raise _refused(header, f"a model that names no {family}.context_length")


def check_numbers(header: GGUFHeader) -> None:
    """Refuses numbers with which llama.cpp would end the process.

    Raises:
        UnsupportedModelError: The message has the number.
    """
    layers = header.of_model("block_count", 1)
    if not 1 <= layers <= _MOST_LAYERS:
        raise _damaged(header, f"{header.architecture}.block_count is {layers:,}")
    for key, value in header.metadata.items():
        if key.endswith("_epsilon") and isinstance(value, float) and not 0.0 <= value < inf:
            raise _damaged(header, f"{key} is {value}")


def check_extents(header: GGUFHeader) -> None:
    """Refuses a file whose tensors reach past its end, or that cannot be where it says.

    Raises:
        UnsupportedModelError: The message has the numbers.
        MissingDependencyError: The package gguf is not installed.
    """
    try:
        from gguf.constants import GGML_QUANT_SIZES  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingDependencyError.for_extra("gguf", "llama-cpp") from None
    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    for name, tensor in header.tensors.items():
        block, block_bytes = sizes.get(tensor.ggml_type, (1, 0))  # what is new has no known size
        row = tensor.shape[0] if tensor.shape else 1
        if row % block or tensor.offset % header.alignment:
            raise _damaged(
                header, f"{name!r:.80} has rows of {row:,} values at byte {tensor.offset:,}"
            )
        end = header.data_start + tensor.offset + tensor.elements // block * block_bytes
        if end > header.size:
            raise UnsupportedModelError(
                f"{header.path} is cut short: it has {header.size:,} bytes, and {name!r:.80} ends "
                f"at byte {end:,}. {_AGAIN}"
            )


def _refused(header: GGUFHeader, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{header.path} is {what}.")


def _damaged(header: GGUFHeader, problem: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{header.path} is a damaged GGUF file: {problem}. {_AGAIN}")
