"""From a `ModelSource` to the backend: the file, its checks, the model, and its tokenizer."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from amulet_integrations.engine.gguf.gguf_check import check_model_file
from amulet_integrations.engine.gguf.gguf_location import locate_gguf
from amulet_integrations.engine.gguf.rope_factors import RopeFactors
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.errors import InvalidRequestError, MissingDependencyError
from amulet_integrations.installation import install_command

from .llama_options import LlamaCppOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .backend import LlamaCppBackend

LEAST_VERSION = (0, 3, 30)
"""Of llama-cpp-python."""

_HOW_TO_BUILD = (
    "It is built while it is installed, for this processor; for a GPU, set CMAKE_ARGS before, such "
    "as CMAKE_ARGS=-DGGML_CUDA=on"
)


def check_llama_cpp_installed() -> None:
    """Checks that there is a llama-cpp-python of a version that can be used; imports nothing.

    Raises:
        MissingDependencyError: There is none, or it is too old.
    """
    command = install_command("llama-cpp")
    if importlib.util.find_spec("llama_cpp") is None:
        raise MissingDependencyError(
            f"llama-cpp-python is not installed. Install it with: {command}. {_HOW_TO_BUILD}."
        )
    try:
        version = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return  # of another distribution; llama.cpp's functions tell
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if numbers < LEAST_VERSION:
        raise MissingDependencyError(
            f"llama-cpp-python {version} is installed, and {'.'.join(map(str, LEAST_VERSION))} or "
            f"newer is needed. Install it with: {command}"
        )


def llama_cpp_context_window(source: ModelSource) -> int:
    """Returns the context window of a source, or refuses what cannot be run. Loads nothing.

    Raises:
        AmuletError: As `load_llama_cpp`, but for what only a loaded model shows.
    """
    check_llama_cpp_installed()
    options = llama_cpp_options(source)
    header = check_model_file(locate_gguf(source))
    factors = RopeFactors.of_file(header.path)
    short = factors.short_window if factors else None
    return options.context_window(header.path.name, header.of_model("context_length", 0), short)


def llama_cpp_options(source: ModelSource) -> LlamaCppOptions:
    """The options of a source, with what its device says.

    Raises:
        InvalidRequestError: There is no such device, or it contradicts `n_gpu_layers`.
    """
    options = source.llama_cpp_options or LlamaCppOptions()
    kind, _, index = source.device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (index and not index.isdecimal()):
        raise InvalidRequestError(
            f"device={source.device!r:.80} is not one that llama.cpp is told. Use 'auto', 'cpu', "
            "'cuda', 'cuda:1' or 'mps'; or leave it out, and use n_gpu_layers, main_gpu and "
            "tensor_split."
        )
    if kind == "auto":
        return options
    layers = options.n_gpu_layers
    if (kind == "cpu" and layers > 0) or (kind != "cpu" and layers == 0):
        raise InvalidRequestError(
            f"device={source.device!r} and n_gpu_layers={layers} contradict each other. Leave one "
            "of them out."
        )
    if kind == "cpu":
        return replace(options, n_gpu_layers=0)
    if index:
        return replace(options, split_mode="none", main_gpu=int(index))
    return options


def load_llama_cpp(source: ModelSource) -> LlamaCppBackend:
    """Loads a GGUF file with llama.cpp. Runs on the worker thread only.

    Raises:
        MissingDependencyError: llama-cpp-python is missing or too old.
        ModelNotFoundError: There is no such file, or a part of it is missing.
        UnsupportedModelError: The file is damaged or holds no language model, llama.cpp cannot run
            it, or its tokenizer reads texts otherwise than llama.cpp's own.
        InvalidRequestError: There is no such device.
    """
    check_llama_cpp_installed()
    options = llama_cpp_options(source)
    path = locate_gguf(source)
    header = check_model_file(path)
    tokenizer = _tokenizer(source, path)

    from amulet_integrations.engine.gguf.pre_tokenizers import PRE_TOKENIZERS  # noqa: PLC0415
    from amulet_integrations.engine.gguf.tokenizer_check import check_tokenizer  # noqa: PLC0415

    from .backend import LlamaCppBackend  # noqa: PLC0415 - llama.cpp
    from .llama_model import LlamaCppModel  # noqa: PLC0415

    _check_device(source)
    model = LlamaCppModel.load(path, options)
    try:
        way = PRE_TOKENIZERS.get(header.value("tokenizer.ggml.pre", ""))
        marks = way is None or not way.llama_cpp_cuts_marks
        check_tokenizer(_named(source), tokenizer, model, _remedy(source), marks=marks)
        backend = LlamaCppBackend(model, tokenizer, model_name=source.model, options=options)
    except BaseException:
        model.close()
        raise
    backend.fingerprint = f"{backend.fingerprint} {source.key}"
    return backend


def _tokenizer(source: ModelSource, path: Path) -> PreTrainedTokenizerBase:
    from amulet_integrations.engine.gguf.tokenizer_source import gguf_tokenizer  # noqa: PLC0415

    return gguf_tokenizer(source, path)


def _check_device(source: ModelSource) -> None:
    """Refuses an accelerator where llama.cpp was built without one."""
    if source.device in {"auto", "cpu"}:
        return
    import llama_cpp  # noqa: PLC0415

    if not llama_cpp.llama_supports_gpu_offload():
        raise InvalidRequestError(
            f"device={source.device!r} is not here: llama-cpp-python was built for the processor "
            "alone. Build it again with CMAKE_ARGS=-DGGML_CUDA=on (or GGML_METAL, GGML_VULKAN), or "
            "use device='cpu'."
        )


def _named(source: ModelSource) -> str:
    return f"model={source.model!r:.200}"


def _remedy(source: ModelSource) -> str:
    from amulet_integrations.engine.gguf.gguf_tokenizer import NAME_ANOTHER  # noqa: PLC0415

    if source.tokenizer_name is None:
        return NAME_ANOTHER
    return f"tokenizer_name={source.tokenizer_name!r:.200} is the tokenizer of another model."
