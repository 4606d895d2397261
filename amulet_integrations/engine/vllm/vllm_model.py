"""What the engine knows of a model that vLLM has loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from transformers import AutoTokenizer

from amulet_integrations.engine.backends.transformers.loading.whole_weights import check_tokenizer
from amulet_integrations.engine.backends.transformers.model_info import end_token_ids
from amulet_integrations.engine.limits import EngineLimits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.v1.core.sched.scheduler import Scheduler

    from .start_up import StartedVLLM


@dataclass(frozen=True)
class VLLMModel:
    """A `ModelDescription`.

    Attributes:
        block_size: How many tokens vLLM's cache takes memory for at once.
        cache_blocks: How many of these blocks requests may have.
    """

    backend_name: ClassVar[str] = "vllm"

    model_name: str
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    context_window: int
    vocab_size: int
    logits_size: int
    end_ids: frozenset[int]
    block_size: int
    cache_blocks: int

    @classmethod
    def of(cls, started: StartedVLLM, options: Mapping[str, Any]) -> Self:
        """Describes the model.

        Args:
            started: vLLM with the model.
            options: vLLM's engine arguments, as the caller gave them.

        Raises:
            UnsupportedModelError: The tokenizer is of another model.
        """
        told = {name: value for name, value in options.items() if name != "hf_token"}
        fingerprint = json.dumps(["vllm", started.source.key, told], sort_keys=True, default=repr)
        return cls.served(started.source.model, fingerprint, started.client.engine_core.scheduler)

    @classmethod
    def served(cls, name: str, fingerprint: str, scheduler: Scheduler) -> Self:
        """Describes the model that a scheduler of vLLM's schedules.

        Args:
            name: The checkpoint's name.
            fingerprint: Equal for models that give equal answers.
            scheduler: vLLM's scheduler.

        Raises:
            UnsupportedModelError: The tokenizer is of another model.
        """
        config = scheduler.vllm_config
        model = config.model_config
        tokenizer = AutoTokenizer.from_pretrained(
            model.tokenizer,
            revision=model.tokenizer_revision,
            trust_remote_code=model.trust_remote_code,
        )
        size = model.get_vocab_size()
        check_tokenizer(f"model={name!r}", size, tokenizer)
        manager = scheduler.kv_cache_manager
        spare = 1 + manager.watermark_blocks  # vLLM never uses its first block
        ends = model.try_get_generation_config().get("eos_token_id")
        return cls(
            model_name=name,
            fingerprint=fingerprint,
            tokenizer=tokenizer,
            device=torch.device(config.device_config.device),
            context_window=model.max_model_len,
            vocab_size=size,
            logits_size=size,
            end_ids=end_token_ids(ends, tokenizer, size),
            block_size=scheduler.block_size,
            cache_blocks=scheduler.kv_cache_config.num_blocks - spare,
        )

    def cache_tokens(self, lengths: Sequence[int]) -> int:
        """Computes how many tokens vLLM takes memory for, for rows that may become so long."""
        return sum(-(-length // self.block_size) for length in lengths) * self.block_size

    def limits(self, started: StartedVLLM, max_waiting: int) -> EngineLimits:
        """Returns limits within which vLLM has room for every request that is admitted."""
        scheduler = started.config.scheduler_config
        tokens = self.cache_blocks * self.block_size
        return EngineLimits(
            max_rows=scheduler.max_num_seqs,
            max_waiting=max_waiting,
            max_prefill_tokens=scheduler.max_num_batched_tokens,
            max_cache_tokens=tokens,
            max_prefix_tokens=tokens if started.config.cache_config.enable_prefix_caching else 0,
            prompt_lookup_num_tokens=0,
        )
