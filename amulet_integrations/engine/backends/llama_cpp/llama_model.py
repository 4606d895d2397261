"""A GGUF file that llama.cpp has loaded: its weights, its vocabulary and its metadata."""

from __future__ import annotations

import ctypes
import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from amulet_integrations.engine.gguf.rope_factors import RopeFactors
from amulet_integrations.errors import (
    InvalidParamsError,
    ModelError,
    ModelNotFoundError,
    UnsupportedModelError,
)

from .llama_library import library, llama_errors, said
from .llama_options import LlamaCppOptions

_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}
_MMAP, _MLOCK = 1, 2  # bits of llama_load_mode
_SAMPLES = 256  # of a file, for its fingerprint
_SAMPLE_BYTES = 1 << 14
_ANY_LENGTH = 2**31 - 1


class LlamaCppModel:
    """Owns llama.cpp's model, and frees it. Make it with `load`.

    Attributes:
        path: The file; of a model in parts, the first.
        options: How it was loaded.
        metadata: The entries of the file, as llama.cpp writes them; lists are left out.
        architecture: The family, such as "llama".
        n_ctx_train: The context window that the model was trained with.
        rope_factors: Its two sets of rotary factors; None where it has no such sets.
        n_ctx: The most tokens of one row.
        n_vocab: The number of token ids.
        end_ids: The tokens that end a text or a turn, as llama.cpp knows them.
    """

    def __init__(
        self,
        path: Path,
        options: LlamaCppOptions,
        pointer: Any,
        rope_factors: RopeFactors | None = None,
    ) -> None:
        llama = library()
        self.path = path
        self.options = options
        self._pointer = pointer
        self._free = weakref.finalize(self, llama.llama_model_free, pointer)
        self._vocab = llama.llama_model_get_vocab(pointer)
        self.metadata: Mapping[str, str] = dict(_metadata(pointer))
        self.architecture = self.metadata.get("general.architecture", "unknown")
        self.n_ctx_train = int(llama.llama_model_n_ctx_train(pointer))
        self.rope_factors = rope_factors
        short = rope_factors.short_window if rope_factors else None
        self.n_ctx = options.context_window(path.name, self.n_ctx_train, short)
        self.n_vocab = int(llama.llama_vocab_n_tokens(self._vocab))
        self.end_ids = frozenset(
            token for token in range(self.n_vocab) if llama.llama_vocab_is_eog(self._vocab, token)
        )

    @classmethod
    def load(cls, path: str | Path, options: LlamaCppOptions | None = None) -> Self:
        """Loads a file.

        Args:
            path: A GGUF file; of a model in parts, the first.
            options: How; by default as llama.cpp does.

        Raises:
            MissingDependencyError: llama-cpp-python is not installed.
            ModelNotFoundError: There is no such file.
            UnsupportedModelError: llama.cpp cannot load it, or it is no decoder with attention
                only.
            InvalidParamsError: `n_ctx` is past the window of the model.
        """
        llama, path, options = library(), Path(path), options or LlamaCppOptions()
        if not path.is_file():
            raise ModelNotFoundError(f"There is no file {str(path)!r}.")
        rope_factors = _rope_factors(path)
        params = _model_params(llama, options)
        if rope_factors is not None:
            params.kv_overrides = _one_set(llama, rope_factors, options.n_ctx)
        with llama_errors() as errors:
            pointer = llama.llama_model_load_from_file(str(path).encode(), params)
        if not pointer:
            raise UnsupportedModelError(
                f"llama.cpp cannot load {str(path)!r}. It may be damaged, of a family that this "
                "llama.cpp does not know, or larger than the memory (on a GPU, try a lower "
                f"n_gpu_layers).{said(errors)}"
            )
        try:
            _check_kind(llama, pointer, path)
        except UnsupportedModelError:
            llama.llama_model_free(pointer)
            raise
        return cls(path, options, pointer, rope_factors)

    @property
    def pointer(self) -> Any:
        """llama.cpp's own handle."""
        return self._pointer

    @property
    def size(self) -> int:
        """The bytes of all weights."""
        return int(library().llama_model_size(self._pointer))

    @property
    def has_sliding_windows(self) -> bool:
        """Whether some layers attend to the last tokens alone."""
        return int(library().llama_model_n_swa(self._pointer)) > 0

    @property
    def on_gpu(self) -> bool:
        """Whether layers, and so their keys and values, may be on a GPU."""
        return bool(library().llama_supports_gpu_offload()) and self.options.n_gpu_layers != 0

    @property
    def copies_states(self) -> bool:
        """Whether a sequence's keys and values can be copied out of the cells, and that is quick.

        From a GPU they come cell by cell; of sliding windows, llama.cpp copies the last tokens.
        """
        return not (self.on_gpu or self.has_sliding_windows)

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[int]:
        """Returns the ids of a text, as llama.cpp's own tokenizer finds them.

        Args:
            text: The text.
            add_special: Whether the tokens that begin and end every text are added.
            parse_special: Whether the text of a special token becomes that token.
        """
        data = text.encode()
        size = len(data) + 16  # a token is a byte at least; and those that are added
        tokens = (ctypes.c_int32 * size)()
        count = library().llama_tokenize(
            self._vocab, data, len(data), tokens, size, add_special, parse_special
        )
        return list(tokens[: max(0, count)])

    def fingerprint(self) -> str:
        """Computes the SHA-256 of a sample of the file's bytes, its beginning and its size."""
        size = self.path.stat().st_size
        digest = hashlib.sha256(f"gguf {size}".encode())
        with self.path.open("rb") as file:
            for index in range(_SAMPLES):
                file.seek(index * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
        return digest.hexdigest()

    def close(self) -> None:
        """Frees the model. It is not used any more."""
        self._free()


def threads(options: LlamaCppOptions) -> tuple[int, int]:
    """Returns the threads of a step of few tokens, and those that read prompts."""
    few = options.n_threads or torch.get_num_threads()
    return few, options.n_threads_batch or few


def _check_kind(llama: Any, pointer: Any, path: Path) -> None:
    """Refuses models that write no text, or whose rows cannot be cut and share a beginning."""
    kinds = {
        "an encoder": llama.llama_model_has_encoder,
        "a recurrent model, whose state cannot be taken back by a token,": (
            llama.llama_model_is_recurrent
        ),
        "a hybrid with recurrent layers, whose state cannot be taken back by a token,": (
            llama.llama_model_is_hybrid
        ),
        "a diffusion model": llama.llama_model_is_diffusion,
    }
    found = next((kind for kind, has in kinds.items() if has(pointer)), None)
    if found is None and not llama.llama_model_has_decoder(pointer):
        found = "no decoder"
    if found is None and _is_embedding_model(dict(_metadata(pointer))):
        found = "an embedding model"
    if found is not None:
        raise UnsupportedModelError(
            f"{str(path)!r} is {found.rstrip(',')}. The engine decodes with models that have "
            "attention only and write text, token after token."
        )


def _is_embedding_model(metadata: Mapping[str, str]) -> bool:
    family = metadata.get("general.architecture", "")
    is_causal = metadata.get(f"{family}.attention.causal", "true") == "true"
    return not is_causal or f"{family}.pooling_type" in metadata


def _rope_factors(path: Path) -> RopeFactors | None:
    try:
        return RopeFactors.of_file(path)
    except ModelError:
        return None  # llama.cpp says what is wrong with the file


def _one_set(llama: Any, factors: RopeFactors, n_ctx: int) -> Any:
    """Overrides where the short set ends, so that contexts of all sizes take the same set."""
    overrides = (llama.llama_model_kv_override * 2)()  # the second, without a key, ends them
    overrides[0].key = factors.key.encode()
    overrides[0].tag = llama.LLAMA_KV_OVERRIDE_TYPE_INT
    overrides[0].value.val_i64 = 0 if n_ctx > factors.short_window else _ANY_LENGTH
    return overrides


def _model_params(llama: Any, options: LlamaCppOptions) -> Any:
    params = llama.llama_model_default_params()
    params.n_gpu_layers = options.n_gpu_layers
    params.split_mode = _SPLIT_MODES[options.split_mode]
    params.main_gpu = options.main_gpu
    params.check_tensors = options.check_tensors
    params.use_extra_bufts = options.use_extra_bufts
    if options.tensor_split is not None:
        most = llama.llama_max_devices()
        if len(options.tensor_split) > most:
            raise InvalidParamsError(
                f"tensor_split has {len(options.tensor_split)} shares; llama.cpp knows {most} "
                "devices at most.",
                param="tensor_split",
            )
        shares = (ctypes.c_float * most)(*options.tensor_split)
        params.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
    _set_loading(params, options)
    return params


def _set_loading(params: Any, options: LlamaCppOptions) -> None:
    """Sets how the file is read: one value in newer versions of llama.cpp, two in older ones."""
    if hasattr(params, "load_mode"):
        mapped = options.use_mmap is not False
        if options.use_mmap is not None or options.use_mlock:
            params.load_mode = _MMAP * mapped + _MLOCK * options.use_mlock
        return
    if options.use_mmap is not None:
        params.use_mmap = options.use_mmap
    params.use_mlock = options.use_mlock


def _metadata(pointer: Any) -> Iterator[tuple[str, str]]:
    llama = library()
    for index in range(llama.llama_model_meta_count(pointer)):
        key = _text(llama.llama_model_meta_key_by_index, pointer, index)
        value = _text(llama.llama_model_meta_val_str_by_index, pointer, index)
        if not key.startswith("tokenizer.ggml.") or not value.startswith("["):
            yield key, value


def _text(function: Callable[..., int], pointer: Any, index: int) -> str:
    """Reads one entry; the first call finds out how long it is."""
    empty = ctypes.create_string_buffer(1)
    size = max(0, function(pointer, index, empty, 1)) + 1
    buffer = ctypes.create_string_buffer(size)
    function(pointer, index, buffer, size)
    return buffer.value.decode("utf-8", "replace")
