"""Grouped-query attention on the CPU without copying keys and values for each head.

With a mask and more than one new token, transformers repeats the keys and values for every query
head, which takes as long as the attention itself. The heads of a group see the same keys through
the same mask, so their queries can be concatenated instead, as if they were tokens of one head.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

GROUPED_SDPA = "grouped_sdpa"

_MAX_TOKENS = 64  # with more tokens, the copy costs little in comparison
_NOT_FOLDED = ("position_bias", "cache", "softcap")


def grouped_sdpa_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Computes what transformers' `sdpa_attention_forward` does, in less time where possible.

    Args:
        module: The attention layer.
        query: Shape (rows, heads, tokens, dim).
        key: Shape (rows, key heads, width, dim).
        value: Shape (rows, key heads, width, value dim).
        attention_mask: Shape (rows, 1, tokens, width), or anything that transformers accepts.
        dropout: As in transformers.
        scaling: As in transformers.
        **kwargs: As in transformers.

    Returns:
        Shape (rows, tokens, heads, value dim), and None.
    """
    tokens, width = query.shape[2], key.shape[2]
    if (
        attention_mask is not None
        and attention_mask.shape[1:] == (1, tokens, width)
        and tokens <= _MAX_TOKENS
        and query.shape[1] > key.shape[1]
        and dropout == 0.0
        and all(kwargs.get(name) is None for name in _NOT_FOLDED)
    ):
        return _folded(query, key, value, attention_mask, scaling), None
    output, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return output, None


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Switches a model on the CPU that uses `sdpa` and groups of heads to this attention."""
    if (
        model.device.type == "cpu"
        and any(getattr(layer, "num_key_value_groups", 1) > 1 for layer in model.modules())
        and model.config._attn_implementation == "sdpa"  # noqa: SLF001
        and getattr(model, "_supports_attention_backend", False)
        and not _compares_names(model)
    ):
        model.set_attn_implementation(GROUPED_SDPA)


def _folded(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None
) -> Tensor:
    rows, heads, tokens, dim = query.shape
    groups = heads // key.shape[1]
    # One token's mask is shared by the group without a copy.
    masks = mask.expand(-1, -1, groups, -1) if tokens == 1 else mask.repeat(1, 1, groups, 1)
    output = scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], groups * tokens, dim),
        key,
        value,
        attn_mask=masks,
        scale=scaling,
    )
    return output.reshape(rows, heads, tokens, value.shape[-1]).transpose(1, 2).contiguous()


def _compares_names(model: PreTrainedModel) -> bool:
    """Returns whether the model's own code compares the name "sdpa", as some do for a mask."""
    try:
        source = inspect.getsource(sys.modules[type(model).__module__])
    except (OSError, TypeError, KeyError):
        return True
    return '"sdpa"' in source


AttentionInterface.register(GROUPED_SDPA, grouped_sdpa_forward)
