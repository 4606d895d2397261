"""Facts about a transformers model that the engine needs: sizes, context window, end tokens."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.heterogeneity import AmbiguousGlobalPerLayerAttributeError

from amulet_integrations.decoding.turn_end import turn_end_token
from amulet_integrations.engine.kv.memory_use import available_memory
from amulet_integrations.errors import UnsupportedModelError

logger = logging.getLogger(__name__)

_WINDOW_NAMES = (
    "max_position_embeddings",  # the others are those of a few families
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "max_seq_length",
    "seq_length",
    "n_ctx",
    "max_target_positions",
    "context_length",
)
_UNKNOWN_WINDOW = 2048  # tokens
_UNKNOWN_MEMORY = 4 << 30  # bytes that are assumed where the system hides it


def context_window(config: PreTrainedConfig) -> int:
    """Returns the most tokens of prompt and completion together.

    Where the config names none, 2048 is taken, and a warning says so.
    """
    text_config = config.get_text_config()
    # A checkpoint may have entries that its family does not know, and so does not use.
    known = [name for name in _WINDOW_NAMES if _is_known(text_config, name)]
    named = (_setting(text_config, name) for name in known or _WINDOW_NAMES)
    window = next((size for size in named if isinstance(size, int) and size > 0), None)
    if window is None:
        window = _UNKNOWN_WINDOW
        _warn_of_unknown_window(config.name_or_path or type(config).__name__)
    return min([window, *_rope_limits(text_config)])


def _rope_limits(config: PreTrainedConfig) -> Iterator[int]:
    """Yields the lengths past which rotary frequencies change.

    Past them, transformers uses other frequencies for all rows of a batch, short ones too.
    """
    parameters = _setting(config, "rope_parameters") or {}
    by_layer_type = [each for each in parameters.values() if isinstance(each, Mapping)]
    for each in by_layer_type or [parameters]:
        if each.get("rope_type") == "longrope":
            name = "original_max_position_embeddings"
            if limit := each.get(name) or _setting(config, name):
                yield limit


def _is_known(config: PreTrainedConfig, name: str) -> bool:
    """Returns whether a config's class has an entry, under this name or another."""
    return hasattr(type(config), name) or name in (type(config).attribute_map or {})


def _setting(config: PreTrainedConfig, name: str) -> Any:
    """Returns an entry of a config; None where there is none, or one for each layer."""
    try:
        return getattr(config, name, None)
    except AmbiguousGlobalPerLayerAttributeError:
        return None


@cache
def _warn_of_unknown_window(name: str) -> None:
    logger.warning(
        "The config of %s names no context window: %d tokens are taken. If the model has another "
        "one, set max_position_embeddings in its config.json.",
        name,
        _UNKNOWN_WINDOW,
    )


def special_token_ids(model: PreTrainedModel) -> set[int]:
    """Returns the tokens to which the config gives a meaning of their own, such as padding."""
    settings = model.config.get_text_config().to_dict()
    ids: set[int] = set()
    for name, value in settings.items():
        if name.endswith(("_token_id", "_token_ids")):
            tokens = value if isinstance(value, list) else [value]
            ids.update(token for token in tokens if isinstance(token, int))
    return ids


def check_attention_only(model: PreTrainedModel) -> None:
    """Refuses models that keep more of the past than attention's keys and values.

    Raises:
        UnsupportedModelError: The model keeps a recurrent state, or a state of another kind.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    others = [kind for kind in kinds if "attention" not in kind or "linear" in kind]
    if getattr(model, "_is_stateful", False) or others:
        raise UnsupportedModelError(
            f"{model_name(model)} ({model.config.model_type}) keeps more of the past than "
            "attention's keys and values, such as a recurrent state, which contexts of unequal "
            "length cannot share. Use a model with plain attention only."
        )


def model_name(model: PreTrainedModel) -> str:
    """Returns a name for messages: the checkpoint's, or the class's."""
    return model.config.name_or_path or type(model).__name__


def takes_argument(model: PreTrainedModel, name: str) -> bool:
    """Returns whether a model's `forward` names an argument; others may be swallowed by it."""
    return name in inspect.signature(model.forward).parameters


def vocabulary_sizes(model: PreTrainedModel) -> tuple[int, int]:
    """Returns how many token ids go in and how many logits come out."""
    inputs = model.get_input_embeddings()
    outputs = model.get_output_embeddings() or inputs
    return _embedding_count(inputs), _embedding_count(outputs)


def end_token_ids(
    configured: int | list[int] | None, tokenizer: PreTrainedTokenizerBase, logits_size: int
) -> frozenset[int]:
    """Returns every token that ends a text.

    They are those of the generation config, the tokenizer's, and the one with which the chat
    template ends an assistant's turn.

    Args:
        configured: `eos_token_id` of the generation config.
        tokenizer: The tokenizer.
        logits_size: The number of logits at a position.
    """
    ids = configured if isinstance(configured, list) else [configured]
    known = (*ids, tokenizer.eos_token_id, turn_end_token(tokenizer))
    return frozenset(token for token in known if token is not None and token < logits_size)


def free_cache_bytes(device: torch.device) -> int:
    """Returns the bytes that keys and values may take: half of the free memory, 4/5 on CUDA."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free * 4 // 5
    available = available_memory()
    return _UNKNOWN_MEMORY if available is None else available // 2


def _embedding_count(embeddings: nn.Module) -> int:
    return int(cast("Tensor", embeddings.weight).shape[0])
