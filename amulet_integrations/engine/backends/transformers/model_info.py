"""Facts about a transformers model that the engine needs: sizes, context window, end tokens."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.decoding.turn_end import turn_end_token
from amulet_integrations.engine.memory_use import available_memory
from amulet_integrations.errors import UnsupportedModelError

from .activations import activation_dtype

_UNKNOWN_MEMORY = 4 << 30  # bytes that are assumed where the system hides it


def context_window(config: PreTrainedConfig) -> int:
    """Returns the most tokens of prompt and completion together."""
    text_config = config.get_text_config()
    window: int = getattr(text_config, "max_position_embeddings", 2048)
    rope = getattr(text_config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # Past it, transformers uses other frequencies for all rows of a batch, short ones too.
        return rope.get("original_max_position_embeddings") or window
    return window


def check_attention_only(model: PreTrainedModel) -> None:
    """Refuses models that keep more of the past than attention's keys and values.

    Raises:
        UnsupportedModelError: The model keeps a recurrent state.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    others = [kind for kind in kinds if "attention" not in kind or "linear" in kind]
    if getattr(model, "_is_stateful", False) or others:
        raise UnsupportedModelError(
            f"{model.config.name_or_path or type(model).__name__} ({model.config.model_type}) "
            "keeps a recurrent state, which contexts of unequal length cannot share. Use a model "
            "with attention only."
        )


def vocabulary_sizes(model: PreTrainedModel) -> tuple[int, int]:
    """Returns how many token ids go in and how many logits come out."""
    inputs = model.get_input_embeddings()
    outputs = model.get_output_embeddings() or inputs
    return _embedding_count(inputs), _embedding_count(outputs)


def end_token_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, logits_size: int
) -> frozenset[int]:
    """Returns every token that ends a text.

    They are those of the generation config, the tokenizer's, and the one with which the chat
    template ends an assistant's turn.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    known = (*ids, tokenizer.eos_token_id, turn_end_token(tokenizer))
    return frozenset(token for token in known if token is not None and token < logits_size)


def bytes_per_token(model: PreTrainedModel) -> int:
    """Returns the bytes of one token's keys and values in all layers, according to the config."""
    config: PreTrainedConfig = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * heads * width * activation_dtype(model).itemsize)


def free_cache_bytes(device: torch.device) -> int:
    """Returns the bytes that keys and values may take: half of the free memory, 4/5 on CUDA."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free * 4 // 5
    available = available_memory()
    return _UNKNOWN_MEMORY if available is None else available // 2


def _embedding_count(embeddings: nn.Module) -> int:
    return int(cast("Tensor", embeddings.weight).shape[0])
