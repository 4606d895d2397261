"""Families of which some layers, or all, see only the last tokens."""

from __future__ import annotations

from .family import (
    CAPPED,
    FULL,
    GROUPED,
    LLAMA3,
    LOCAL_ROPE,
    LONGROPE,
    LONGROPE_WINDOW,
    MIXED,
    MULTIPLIED,
    SHARED_KEYS,
    SLIDING,
    UPPER,
    WINDOW,
    YARN,
    family,
)

MINISTRAL_YARN = {
    **YARN,
    "llama_4_scaling_beta": 0.1,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

# fmt: off
WINDOWED = (
    family("mistral", "a window in every layer", GROUPED, sliding_window=WINDOW),
    family("ministral", "windows in some layers", GROUPED, MIXED),
    family("ministral3", "a window in every layer, yarn", GROUPED, sliding_window=WINDOW,
           rope_parameters=MINISTRAL_YARN),
    family("smollm3, window", "windows in some layers, others without positions", GROUPED, MIXED,
           use_sliding_window=True, no_rope_layer_interval=2),
    family("cwm", "windows in some layers", GROUPED, MIXED, rope_parameters=LLAMA3),
    family("qwen2, window", "windows in the upper layers", GROUPED, UPPER),
    family("qwen3, window", "windows in the upper layers", GROUPED, UPPER),
    family("gemma2", "windows in some layers, capped attention and logits", GROUPED, MIXED, CAPPED),
    family("vaultgemma", "windows in some layers, capped attention", GROUPED, MIXED, CAPPED),
    family("gemma3_text", "windows in some layers, other frequencies in the rest", GROUPED, MIXED,
           query_pre_attn_scalar=8),
    family("gemma3_text, yarn", "yarn in the layers without windows", GROUPED, MIXED,
           query_pre_attn_scalar=8, rope_parameters={FULL: YARN, SLIDING: LOCAL_ROPE}),
    family("gemma3_text, longrope", "longrope in the layers without windows", GROUPED, MIXED,
           query_pre_attn_scalar=8, rope_parameters={FULL: LONGROPE, SLIDING: LOCAL_ROPE},
           context_window=LONGROPE_WINDOW),
    family("gemma3n_text", "layers that share keys, windows, several residuals", GROUPED,
           SHARED_KEYS, laurel_rank=8, activation_sparsity_pattern=[0.5, 0.5, 0.0, 0.0, 0.0, 0.0],
           final_logit_softcapping=4.0),
    family("gemma4_text", "heads of two sizes, layers that share keys, windows", GROUPED,
           SHARED_KEYS, global_head_dim=16, num_global_key_value_heads=1),
    family("phi3", "Phi-3 and 4; a window in every layer", GROUPED, sliding_window=WINDOW),
    family("gpt_neo", "windows in every other layer, learned positions", num_layers=2, num_heads=4,
           attention_types=[[["global", "local"], 1]], window_size=WINDOW),
    family("olmo3", "windows in some layers", MIXED, num_key_value_heads=2),
    family("olmo3, yarn", "yarn in the layers without windows", MIXED, num_key_value_heads=2,
           rope_parameters=YARN),
    family("granite_swa", "windows in some layers, multipliers", GROUPED, MIXED, MULTIPLIED),
    family("cohere2", "Command R7B; windows in some layers, no positions in the rest", MIXED,
           num_key_value_heads=2, logit_scale=0.5),
    family("exaone4", "windows in some layers, no positions in the rest", GROUPED, MIXED,
           sliding_window_pattern=2),
    family("starcoder2", "a window in every layer", num_key_value_heads=2, sliding_window=WINDOW),
    family("modernbert-decoder", "windows in some layers", num_hidden_layers=4,
           layer_types=[SLIDING, FULL] * 2, local_attention=WINDOW),
    family("doge, window", "a window in every layer", GROUPED, sliding_window=WINDOW,
           keep_window_size=640),
)
# fmt: on
