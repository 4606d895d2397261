"""How much an engine takes on at once; the operator's to set."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from amulet_integrations.engine.backends.transformers.activations import activation_dtype
from amulet_integrations.engine.backends.transformers.memory import available_memory
from amulet_integrations.errors import InvalidParamsError

_MAY_BE_NOUGHT = ("max_prefix_tokens", "prompt_lookup_num_tokens", "max_waiting")


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of memory, of waiting, and of how long running streams are held up.

    Attributes:
        max_rows: Most contexts that are decoded at once. A request with more runs alone.
        max_waiting: Most requests in line; one more is refused with `EngineOverloadedError`.
        max_prefill_tokens: Most prompt tokens read in one step, padding included: running streams
            wait for no more than that. By default 256 on the CPU, 4096 elsewhere.
        max_cache_tokens: Most tokens whose keys and values are held: rows times the longest one,
            room for the whole completion counted. Requests beyond it wait. By default what half
            of the memory that is free holds; on CUDA four fifths.
        max_prefix_tokens: Most tokens of ended requests whose keys and values are kept, so that
            texts that begin alike are not read again; part of `max_cache_tokens`, and given up
            where requests need the room. 0 keeps nothing. By default 16,384, or a quarter of
            `max_cache_tokens` where that is less.
        prompt_lookup_num_tokens: Most tokens of a draft that is copied from the prompt and
            verified in one pass (the name is that of transformers); 0 for no drafts.
    """

    max_rows: int = 64
    max_waiting: int = 4096
    max_prefill_tokens: int | None = None
    max_cache_tokens: int | None = None
    max_prefix_tokens: int | None = None
    prompt_lookup_num_tokens: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            least = 0 if field.name in _MAY_BE_NOUGHT else 1
            unset = limit is None and field.default is None
            if not unset and (type(limit) is not int or limit < least):
                raise InvalidParamsError(
                    f"{field.name}={limit!r}: give a whole number, {least} or more."
                )

    def for_model(self, model: PreTrainedModel) -> Self:
        """The same with every default filled in for a model on its device."""
        on_cpu = model.device.type == "cpu"
        tokens = self.max_cache_tokens
        if tokens is None:
            tokens = max(1024, _free_memory(model.device) // bytes_per_token(model))
        prefixes = self.max_prefix_tokens
        if prefixes is None:
            prefixes = min(16_384, tokens // 4)
        return replace(
            self,
            max_prefill_tokens=self.max_prefill_tokens or (256 if on_cpu else 4096),
            max_cache_tokens=tokens,
            max_prefix_tokens=prefixes,
        )


def bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes of one token's keys and values in all layers, as the config tells."""
    config: PreTrainedConfig = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * heads * width * activation_dtype(model).itemsize)


def _free_memory(device: torch.device) -> int:
    """Bytes that keys and values may take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free * 4 // 5
    available = available_memory()
    return (4 << 30) if available is None else available // 2
