"""A GGUF file that llama.cpp has loaded: its weights, its vocabulary and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from .llama_options import LlamaCppOptions


class LlamaCppModel:
    """Owns llama.cpp's model, and frees it.

    Attributes:
        path: The file; of a model in parts, the first.
        options: How it was loaded.
        metadata: All entries of the file, as llama.cpp prints them.
        architecture: The family, such as "llama".
        n_ctx_train: The context window that the model was trained with.
        n_vocab: The number of token ids.
        end_ids: The tokens that end a text or a turn, as llama.cpp knows them.
    """

    path: Path
    options: LlamaCppOptions
    metadata: Mapping[str, str]
    architecture: str
    n_ctx_train: int
    n_vocab: int
    end_ids: frozenset[int]

    @classmethod
    def load(cls, path: str | Path, options: LlamaCppOptions | None = None) -> Self:
        """Loads a file."""
        raise NotImplementedError

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[int]:
        """Returns the ids of a text, as llama.cpp's own tokenizer finds them."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees the model. It is not used any more."""
        raise NotImplementedError
