"""Which error of ours a checkpoint or a setting gives that vLLM cannot start with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError

from amulet_integrations.engine.backends.transformers.loading.loader import load_config
from amulet_integrations.engine.backends.transformers.loading.missing_files import (
    check_files,
    check_name,
)
from amulet_integrations.engine.backends.transformers.loading.weight_files import check_no_pickles
from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    ModelNotFoundError,
    UnsupportedByEngineError,
    UnsupportedModelError,
)

_OTHER_FILES = ("load_format", "config_format", "hf_config_path", "tokenizer")
_NO_WEIGHTS = "Cannot find any model weights"  # what vLLM says


def read_source(model: str, options: Mapping[str, Any]) -> ModelSource:
    """The model's source. What `LocalEngine` would refuse for its files is refused here.

    Args:
        model: Hub id, local folder, or "embedded".
        options: vLLM's engine arguments. Those that lead to other files leave the check to vLLM.

    Raises:
        ModelNotFoundError: There is no such checkpoint, or a file of it is missing.
        UnsupportedByEngineError: It is a GGUF file, or one of Ollama's.
        UnsupportedModelError: Its weights are pickles.
    """
    source = ModelSource(
        model,
        revision=options.get("revision"),
        trust_remote_code=bool(options.get("trust_remote_code", False)),
    )
    if source.model == EMBEDDED or not options.keys().isdisjoint(_OTHER_FILES):
        return source
    if source.names_gguf:
        raise UnsupportedByEngineError(
            f"model={model!r:.200} is a GGUF file, or a model of Ollama's, which VLLMEngine does "
            "not read. Use LocalEngine.from_pretrained for it, or give the checkpoint that it was "
            "made from: its Hugging Face id, or a folder with config, tokenizer and weights."
        )
    check_name(source.model)
    check_no_pickles(_name(source), source.model)
    if not source.trust_remote_code:  # such code may read files of its own
        check_files(source.model)
    return source


def config_error(
    source: ModelSource, options: Mapping[str, Any], error: Exception, known: Collection[str]
) -> AmuletError:
    """The error for a model or settings of which vLLM cannot make its config.

    Args:
        source: The model.
        options: vLLM's engine arguments, as the caller gave them.
        error: The error of vLLM.
        known: The names of vLLM's engine arguments.
    """
    if (refused := _refused_argument(options, error, known)) is not None:
        return refused
    try:
        load_config(source)
    except AmuletError as own_reason:  # `LocalEngine` could not load it, either
        return own_reason
    return _named_argument(source, options, error, known) or _unsupported(source, error)


def start_error(
    source: ModelSource, options: Mapping[str, Any], error: Exception, known: Collection[str]
) -> AmuletError:
    """The error for a model that vLLM can neither load nor find memory for; see `config_error`."""
    if isinstance(error, SafetensorError):
        return ModelNotFoundError(
            f"{_name(source)} cannot be loaded: its weights are damaged ({error}). Download or "
            "save the checkpoint again."
        )
    if _NO_WEIGHTS in str(error):
        return UnsupportedModelError(
            f"{_name(source)} has no weights in safetensors. Only those are read, because a pickle "
            "can run code; if you trust its pickles, pass load_format='hf'."
        )
    return _named_argument(source, options, error, known) or _unsupported(source, error)


def _refused_argument(
    options: Mapping[str, Any], error: Exception, known: Collection[str]
) -> AmuletError | None:
    """The error for arguments whose values pydantic refuses."""
    if not isinstance(error, ValidationError):
        return None
    reasons: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if name in known:
            message = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
            reasons.setdefault(name, f"{name}={options.get(name)!r:.80}: {message}")
    return InvalidParamsError("; ".join(reasons.values())) if reasons else None


def _named_argument(
    source: ModelSource, options: Mapping[str, Any], error: Exception, known: Collection[str]
) -> AmuletError | None:
    """The error for settings that do not go together, or that the machine has no memory for.

    vLLM's text names them, and has the numbers.
    """
    text = _text_of(error)
    written = text.lower().replace(" ", "_")
    named = [name for name in known if name in written and ("_" in name or name in options)]
    if not named:
        return None
    # Of those that were given only these, and never the hub's token.
    shown = [name for name in sorted(named) if name in options and name != "hf_token"]
    given = [f"{name}={options[name]!r:.80}" for name in shown]
    return InvalidParamsError(
        f"vLLM cannot start with {', '.join(given) or 'its defaults'} and "
        f"model={source.model!r}: {text}"
    )


def _unsupported(source: ModelSource, error: Exception) -> AmuletError:
    return UnsupportedModelError(
        f"vLLM cannot load {_name(source)}: {type(error).__name__}: {_text_of(error)}"
    )


def _text_of(error: Exception) -> str:
    """What vLLM says, in one line, without what pydantic adds."""
    text = str(error)
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_input=False)
        text = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in faults)
    return " ".join(text.split())


def _name(source: ModelSource) -> str:
    return f"model={source.model!r}"
