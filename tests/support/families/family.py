"""A family of models: its config class, and options that make what is special about it matter.

The prompts of the trials have up to forty tokens, so a window of 8 hides most of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.support.tiny import CONTEXT_WINDOW, SIZES, SPREAD

Options = Mapping[str, Any]

FULL, SLIDING = "full_attention", "sliding_attention"
WINDOW = 8
WINDOW_NAMES = ("sliding_window", "attention_chunk_size", "window_size", "local_attention")

GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
MIXED = {"num_hidden_layers": 4, "layer_types": [SLIDING, FULL] * 2, "sliding_window": WINDOW}
UPPER = {
    "num_hidden_layers": 4,
    "use_sliding_window": True,
    "sliding_window": WINDOW,
    "max_window_layers": 2,
}
CAPPED = {
    "query_pre_attn_scalar": 8,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 4.0,
}
MULTIPLIED = {
    "embedding_multiplier": 2.0,
    "logits_scaling": 0.5,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.3,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED_EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
}
INDEXED = {"index_topk": 4, "index_head_dim": 16, "index_n_heads": 2}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}
LINEAR_ATTENTION = {
    "layer_types": ["linear_attention", FULL],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT_WINDOW}
MPT_SIZES = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT_WINDOW}
# Embeddings that Gemma 3n and 4 add in every layer.
PER_LAYER_INPUTS = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512}
SHARED_KEYS = {
    **PER_LAYER_INPUTS,
    "num_hidden_layers": 6,
    "layer_types": [SLIDING, FULL] * 3,
    "sliding_window": WINDOW,
    "num_kv_shared_layers": 2,
}

TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
IMAGES = {"image_size": 28, "patch_size": 14}

BASE = {"rope_theta": 10_000.0}
PARTIAL = {"rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}
STRETCHED = {**BASE, "rope_type": "linear", "factor": 4.0}
DYNAMIC = {**BASE, "rope_type": "dynamic", "factor": 4.0}
YARN = {**BASE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    **BASE,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE_WINDOW = 96
LONGROPE = {
    **BASE,
    "rope_type": "longrope",
    "short_factor": [1.0, 1.2, 1.4, 1.6],
    "long_factor": [2.0, 4.0, 8.0, 16.0],
    "original_max_position_embeddings": LONGROPE_WINDOW,
}
LOCAL_ROPE = {"rope_type": "default", "rope_theta": 100.0}


@dataclass(frozen=True)
class Family:
    """One architecture with the options that set it apart.

    Attributes:
        name: The model type of its config class in transformers, and a variant after a comma.
        special: What is special about it, and what it is called.
        options: Options of the config besides `SIZES`.
        context_window: The most tokens of prompt and completion.
        ignores_window: Whether the model's code never reads the window in its config.
        refused: Whether it is refused when it is loaded.
        towers: Configs of the parts that read images and sound; the options are the text part's.
    """

    name: str
    special: str
    options: Options
    context_window: int = CONTEXT_WINDOW
    ignores_window: bool = False
    refused: bool = False
    towers: Options | None = None

    @property
    def model_type(self) -> str:
        return self.name.partition(",")[0]


def family(
    name: str,
    special: str,
    *groups: Options,
    context_window: int = CONTEXT_WINDOW,
    ignores_window: bool = False,
    refused: bool = False,
    towers: Options | None = None,
    **options: Any,
) -> Family:
    """A family whose options are those of the groups and its own."""
    merged = {key: value for group in (*groups, options) for key, value in group.items()}
    return Family(name, special, merged, context_window, ignores_window, refused, towers)


def tiny_checkpoint(family: Family, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random float32 model in eval mode, the same for the same seed.

    Args:
        family: The family.
        seed: Of the weights.
        **changes: Options in place of the family's.
    """
    torch.manual_seed(seed)
    sizes = {**SIZES, **family.options, **changes}
    options = sizes if family.towers is None else {"text_config": sizes, **family.towers}
    config = AutoConfig.for_model(family.model_type, **options)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = SPREAD * torch.randn(weight.shape, generator=generator)
            # Biases, norms and sinks stay around what they are, and matter all the same.
            weight.copy_(noise if weight.ndim > 1 else weight + noise)
    return model
