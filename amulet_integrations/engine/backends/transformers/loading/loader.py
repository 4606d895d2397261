"""Loads checkpoints, and refuses early what the backend cannot run."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from amulet_integrations.engine.backends.given_template import use_given_template
from amulet_integrations.engine.backends.transformers.architecture_check import check_architecture
from amulet_integrations.engine.backends.transformers.attention import use_grouped_attention
from amulet_integrations.engine.backends.transformers.cpu.kernel_choice import speed_up_linear
from amulet_integrations.engine.gguf.tokenizer_source import gguf_tokenizer
from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import (
    InvalidRequestError,
    MissingDependencyError,
    UnsupportedModelError,
)

from .embedded import embedded_model_path
from .gguf_source import gguf_checkpoint, load_gguf_config, unread, warn_of_full_numbers
from .hub_reach import check_reachable
from .loading_bars import only_watched_bars
from .missing_files import check_files, check_name, config_error, loading_error
from .weight_files import check_no_pickles
from .whole_weights import LoadingInfo, check_vocabulary, check_weights


@only_watched_bars()
def read_config(source: ModelSource) -> PreTrainedConfig:
    """Reads a checkpoint's config. No other file of it has to be there.

    Raises:
        ModelNotFoundError: There is no such checkpoint, its config is damaged, or the hub cannot
            be reached.
        UnsupportedModelError: It is not decoder-only, or needs code of its own.
        InvalidRequestError: The dtype or the device is unknown.
    """
    source.check_dtype()
    find_device(source.device)
    if source.names_gguf:
        return load_gguf_config(source)
    path = _name_or_path(source)
    check_name(path)
    if source.model != EMBEDDED:  # which comes in a package
        check_reachable(f"model={source.model!r}", source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, **_hub_options(source))
    except Exception as error:  # damaged files raise any error
        raise _code_of_its_own(source, error) or config_error(source, error) from error
    _check_decoder_only(source.model, config)
    return config


def load_config(source: ModelSource) -> PreTrainedConfig:
    """Reads a checkpoint's config and refuses what cannot be run. The weights are not loaded.

    Raises:
        ModelNotFoundError: As `read_config`, or a file of the checkpoint is missing.
        UnsupportedModelError: As `read_config`, or its weights are pickles.
        InvalidRequestError: As `read_config`.
    """
    config = read_config(source)
    if source.names_gguf:
        return config
    path = _name_or_path(source)
    check_no_pickles(f"model={source.model!r}", path)
    if not source.trust_remote_code:  # such code may read files of its own
        check_files(path)
    return config


def load_model(source: ModelSource) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a checkpoint, in eval mode and on its device.

    Raises:
        ModelNotFoundError: As `load_config`, or a file of the checkpoint is missing.
        UnsupportedModelError: As `load_config`, or weights are missing or of other shapes than the
            config says, or the tokenizer is of another model, or a trial of a few tokens shows that
            it cannot be run; see `architecture_check`.
        MissingDependencyError: `device_map` or a quantization needs a package.
    """
    with only_watched_bars(is_quick=source.model == EMBEDDED):
        return _load_model(source)


def _load_model(source: ModelSource) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    load_config(source)
    if source.names_gguf:
        file = gguf_checkpoint(source)
        warn_of_full_numbers(source, file)
        tokenizer = gguf_tokenizer(source, file)
        model, info = _load_weights(source, str(file.parent), gguf_file=file.name)
    else:
        path, options = _name_or_path(source), _hub_options(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
        except Exception as error:  # damaged files raise any error
            raise _loading_error(source, error) from error
        use_given_template(tokenizer, source.chat_template)
        model, info = _load_weights(source, path, use_safetensors=True, **options)
    check_weights(f"model={source.model!r}", info)
    check_vocabulary(f"model={source.model!r}", model, tokenizer)
    model.eval()
    if source.device_map is None and source.quantization_config is None:
        model.to(find_device(source.device))  # type: ignore[arg-type]
        speed_up_linear(model, pack_weights=source.pack_weights)
        if source.attn_implementation is None:
            use_grouped_attention(model)
    check_architecture(model, remember=True)
    return model, tokenizer


def _load_weights(
    source: ModelSource, path: str, **options: Any
) -> tuple[PreTrainedModel, LoadingInfo]:
    placement = ("device_map", "quantization_config", "attn_implementation")
    given = {name: value for name in placement if (value := getattr(source, name)) is not None}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=source.dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_weights` refuses them, with the shapes
            **given,
            **options,
        )
    except ImportError as error:
        raise MissingDependencyError(f"Loading {source.model!r} failed: {error}") from error
    except Exception as error:  # damaged files raise any error
        raise _loading_error(source, error) from error
    model: PreTrainedModel
    info: LoadingInfo
    model, info = loaded
    return model, info


def _name_or_path(source: ModelSource) -> str:
    return str(embedded_model_path()) if source.model == EMBEDDED else source.model


def _hub_options(source: ModelSource) -> dict[str, Any]:
    return {
        "revision": source.revision,
        "local_files_only": source.local_files_only or source.model == EMBEDDED,
        "trust_remote_code": source.trust_remote_code,
    }


def find_device(name: str) -> torch.device:
    """Returns the device of a name; "auto" is the machine's accelerator, or else the CPU.

    Raises:
        InvalidRequestError: The machine has no such device.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidRequestError(
            f"device={name!r} is not here: {error}. Use 'auto', 'cpu', 'cuda', 'cuda:1', 'mps', …"
        ) from error


def _check_decoder_only(name: str, config: PreTrainedConfig) -> None:
    known = {
        architecture
        for entry in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        for architecture in ([entry] if isinstance(entry, str) else entry)
    }
    architectures = config.architectures or []
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    # Encoders such as BERT have a causal head, which is useful only if they were trained with it.
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    encoder = masked and not getattr(config, "is_decoder", True)
    # Of a whole checkpoint that reads images too, transformers loads the decoder of texts.
    whole = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and any(
        name.endswith("ForConditionalGeneration") for name in architectures
    )
    causal = bool(known.intersection(architectures)) or whole
    decoder = own_code or (causal and not encoder)
    if config.is_encoder_decoder or not decoder:
        raise UnsupportedModelError(
            f"model={name!r} is {', '.join(architectures) or config.model_type}, not a "
            "decoder-only language model. Use a checkpoint of a ...ForCausalLM class."
        )


def _loading_error(source: ModelSource, error: Exception) -> Exception:
    if source.names_gguf:
        return unread(source, error)
    return _code_of_its_own(source, error) or loading_error(
        f"model={source.model!r}", source, error
    )


def _code_of_its_own(source: ModelSource, error: Exception) -> Exception | None:
    if "trust_remote_code" not in str(error):
        return None
    return UnsupportedModelError(
        f"model={source.model!r} comes with code of its own. Pass trust_remote_code=True if "
        "you have read that code and trust it."
    )
