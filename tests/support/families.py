"""Families of models, each as a tiny random checkpoint whose special options matter.

A prompt of the tests has about forty tokens, so a window of 8 hides most of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.support.tiny import SIZES, SPREAD

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
LINEAR, CONVOLUTION = "linear_attention", "conv"
MIXED = [SLIDING, FULL, SLIDING, FULL]
WINDOW = 8

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One architecture with the options that set it apart.

    Attributes:
        name: What the tables call it.
        special: What the engine has to get right.
        options: Options of the config besides `SIZES`.
        config: The model type of its config class in transformers; by default the name.
        refused: Whether it cannot be run, and is refused when it is loaded.
        long: How many tokens the long prompts have.
    """

    name: str
    special: str
    options: Options = field(default_factory=dict)
    config: str = ""
    refused: bool = False
    long: int = 41

    @property
    def model_type(self) -> str:
        return self.config or self.name


GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
FOUR_LAYERS = {"num_hidden_layers": 4}
WINDOWED = {**GROUPED, **FOUR_LAYERS, "sliding_window": WINDOW, "layer_types": MIXED}
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
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.2, 1.4, 1.6],
    "long_factor": [2.0, 4.0, 8.0, 16.0],
    "original_max_position_embeddings": 96,
}
BASE = {"rope_theta": 10_000.0}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 640}
MULTIPLIERS = {
    "embedding_multiplier": 2.0,
    "logits_scaling": 0.5,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.3,
}

RIGHT = [
    # Llama and what is built like it.
    Family("llama", "grouped heads", GROUPED),
    Family("llama, llama3 rope", "frequencies stretched", {**GROUPED, "rope_parameters": {**BASE, **LLAMA3_ROPE}}, "llama"),
    Family("llama, yarn", "frequencies stretched", {**GROUPED, "rope_parameters": {**BASE, **YARN}}, "llama"),
    Family("llama, dynamic rope", "frequencies that depend on length", {**GROUPED, "rope_parameters": {**BASE, "rope_type": "dynamic", "factor": 4.0}}, "llama"),
    Family("llama, window unread", "a window that its code never reads", {**GROUPED, "sliding_window": WINDOW}, "llama"),
    Family("llama4_text", "chunked attention, layers without rope, tuned temperature, experts", {**GROUPED, **FOUR_LAYERS, **LOCAL_EXPERTS, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 48, "no_rope_layer_interval": 2, "interleave_moe_layer_step": 2, "floor_scale": 4, "num_experts_per_tok": 1}),
    Family("mistral", "a sliding window in every layer", {**GROUPED, "sliding_window": WINDOW}),
    Family("ministral", "windows in some layers", WINDOWED),
    Family("ministral3", "a sliding window, yarn", {**GROUPED, "sliding_window": WINDOW, "rope_parameters": {**BASE, **YARN, "llama_4_scaling_beta": 0.1, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    Family("mixtral", "experts, a sliding window", {**GROUPED, **LOCAL_EXPERTS, "sliding_window": WINDOW}),
    Family("smollm3", "layers without rope", {**GROUPED, **FOUR_LAYERS, "no_rope_layer_interval": 2}),
    Family("smollm3, window", "layers without rope, windows in some", {**WINDOWED, "use_sliding_window": True, "no_rope_layer_interval": 2}, "smollm3"),
    Family("arcee", "squared ReLU, yarn", {**GROUPED, "rope_parameters": {**BASE, **YARN}}),
    Family("helium", "interleaved rope", GROUPED),
    Family("apertus", "xIELU, norms of queries and keys", {**GROUPED, "rope_parameters": {**BASE, **LLAMA3_ROPE}}),
    Family("seed_oss", "biases of queries, keys and values", {**GROUPED, "attention_bias": True}),
    Family("seed_oss, window unread", "a window that its code never reads", {**GROUPED, "sliding_window": WINDOW}, "seed_oss"),
    Family("hunyuan_v1_dense", "norms after rope", GROUPED),
    Family("hunyuan_v1_moe", "experts", {**GROUPED, "num_experts": 4, "moe_topk": 2}),
    Family("internlm3", "a window that its code never reads", {**GROUPED, "sliding_window": WINDOW}),
    Family("bitnet", "norms inside attention; a window unread", {**GROUPED, "sliding_window": WINDOW}),
    Family("cwm", "windows in some layers", {**WINDOWED, "rope_parameters": {**BASE, **LLAMA3_ROPE}}),
    Family("diffllama", "the difference of two attentions", GROUPED),
    Family("nanochat", "logits capped", {**GROUPED, "final_logit_softcapping": 2.0}),
    Family("hyperclovax", "multipliers, norms after each block", {**GROUPED, **MULTIPLIERS}),
    Family("iquestcoder", "clipped queries, keys and values", {**GROUPED}),
    Family("jais2", "squared ReLU, biases", GROUPED),
    Family("youtu", "latent attention", LATENT),
    Family("minicpm3", "latent attention, multipliers", {**LATENT, "dim_model_base": 16}),
    Family("ernie4_5", "interleaved rope", GROUPED),
    Family("ernie4_5_moe", "experts; a window unread", {**GROUPED, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16, "moe_num_shared_experts": 1, "sliding_window": WINDOW}),
    Family("solar_open", "experts", {**GROUPED, **ROUTED_EXPERTS}),
    Family("minimax_m2", "experts, norms of queries and keys", {**GROUPED, **LOCAL_EXPERTS}),
    Family("hy_v3", "experts", {**GROUPED, **EXPERTS, "num_shared_experts": 1}),
    # Qwen.
    Family("qwen2", "biases; windows switched off", {**GROUPED, "use_sliding_window": False, "sliding_window": WINDOW}),
    Family("qwen2, window", "windows in the upper layers", {**GROUPED, **FOUR_LAYERS, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}, "qwen2"),
    Family("qwen2, yarn", "Qwen 2.5 with a stretched context", {**GROUPED, "rope_parameters": {**BASE, **YARN}}, "qwen2"),
    Family("qwen2_moe", "experts and a shared one", {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 16}),
    Family("qwen2_moe, window", "experts, windows in the upper layers", {**GROUPED, **FOUR_LAYERS, **EXPERTS, "shared_expert_intermediate_size": 16, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}, "qwen2_moe"),
    Family("qwen3", "norms of queries and keys", GROUPED),
    Family("qwen3, window", "windows in the upper layers", {**GROUPED, **FOUR_LAYERS, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}, "qwen3"),
    Family("qwen3_moe", "experts", {**GROUPED, **EXPERTS}),
    Family("qwen3_moe, window", "experts, a window in every layer", {**GROUPED, **EXPERTS, "use_sliding_window": True, "sliding_window": WINDOW}, "qwen3_moe"),
    # Gemma.
    Family("gemma", "one key head", {"num_key_value_heads": 1, "head_dim": 16}),
    Family("gemma2", "windows in every other layer, attention and logits capped", {**WINDOWED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}),
    Family("gemma3_text", "windows in some layers, a rope for each kind of layer", {**WINDOWED, "query_pre_attn_scalar": 8}),
    Family("gemma3_text, yarn", "yarn in the full layers only", {**WINDOWED, "query_pre_attn_scalar": 8, "rope_parameters": {FULL: {**BASE, **YARN}, SLIDING: {"rope_type": "default", "rope_theta": 100.0}}}, "gemma3_text"),
    Family("gemma3_text, longrope", "longrope in the full layers only", {**WINDOWED, "query_pre_attn_scalar": 8, "rope_parameters": {FULL: {**BASE, **LONGROPE}, SLIDING: {"rope_type": "default", "rope_theta": 100.0}}}, "gemma3_text"),
    Family("gemma3n_text", "layers that share keys, windows, streams of residuals", {**GROUPED, "num_hidden_layers": 6, "layer_types": [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL], "sliding_window": WINDOW, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512, "laurel_rank": 8, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0, 0.0, 0.0], "final_logit_softcapping": 2.0, "intermediate_size": 64}),
    Family("gemma4_text", "heads of another size in full layers, shared keys, windows", {**WINDOWED, "num_hidden_layers": 6, "layer_types": [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL], "global_head_dim": 16, "num_global_key_value_heads": 1, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512}),
    Family("gemma4_text, experts", "keys that are values, experts", {**WINDOWED, "global_head_dim": 16, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16, "hidden_size_per_layer_input": 0}, "gemma4_text"),
    Family("vaultgemma", "windows in every other layer", {**WINDOWED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}),
    # Phi.
    Family("phi", "rope for a part of each head", {**GROUPED, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("phi3", "a sliding window", {**GROUPED, "sliding_window": WINDOW}),
    Family("phi3, longrope", "frequencies that depend on length", {**GROUPED, "original_max_position_embeddings": 96, "rope_parameters": {**BASE, **LONGROPE}}, "phi3"),
    Family("phimoe", "experts, longrope", {**GROUPED, **LOCAL_EXPERTS, "rope_parameters": {**BASE, **LONGROPE, "short_mscale": 1.1, "long_mscale": 1.3}}),
    Family("phimoe, window", "experts, a sliding window", {**GROUPED, **LOCAL_EXPERTS, "sliding_window": WINDOW}, "phimoe"),
    # OpenAI's and its descendants.
    Family("gpt_oss", "attention sinks, windows in some layers, experts, yarn", {**WINDOWED, **LOCAL_EXPERTS, "rope_parameters": {**BASE, **YARN, "truncate": False}}),
    Family("gpt2", "learned positions", GPT2_SIZES),
    Family("gpt_bigcode", "learned positions, one key head", GPT2_SIZES),
    Family("gpt_neo", "windows in every other layer, learned positions", {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "num_layers": 2, "num_heads": 4}),
    Family("gpt_neox", "rope for a part of each head; a window unread", {"sliding_window": WINDOW, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("gpt_neox_japanese", "queries and keys of its own layout", {"intermediate_multiple_size": 2}),
    Family("gptj", "interleaved rope", {**GPT2_SIZES, "rotary_dim": 4}),
    Family("codegen", "interleaved rope", {**GPT2_SIZES, "rotary_dim": 4, "n_ctx": 640}),
    Family("openai-gpt", "learned positions", GPT2_SIZES),
    Family("opt", "learned positions with an offset", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    Family("biogpt", "learned positions with an offset", {}),
    Family("xglm", "computed positions with an offset", {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4}),
    Family("ctrl", "computed positions", {**GPT2_SIZES, "dff": 64}),
    # Alibi.
    Family("bloom", "alibi", {"n_layer": 2, "n_head": 4}),
    Family("mpt", "alibi", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 640}),
    Family("mpt, window 96", "alibi, a context window of its own name", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 96}, "mpt"),
    Family("falcon", "rope, one key head", {"multi_query": True, "alibi": False}),
    Family("falcon, alibi", "alibi", {"multi_query": False, "alibi": True, "parallel_attn": False}, "falcon"),
    Family("falcon, new", "grouped heads", {"new_decoder_architecture": True, "num_kv_heads": 2}, "falcon"),
    # OLMo, Granite, Cohere, Exaone, GLM, DeepSeek.
    Family("olmo", "norms without weights, clipped projections", {"clip_qkv": 1.0}),
    Family("olmo2", "norms after each block; a window unread", {**GROUPED, "sliding_window": WINDOW}),
    Family("olmo3", "windows in some layers", {**FOUR_LAYERS, "num_key_value_heads": 2, "sliding_window": WINDOW, "layer_types": MIXED}),
    Family("olmo3, yarn", "yarn in the full layers only", {**FOUR_LAYERS, "num_key_value_heads": 2, "sliding_window": WINDOW, "layer_types": MIXED, "rope_parameters": {**BASE, **YARN}}, "olmo3"),
    Family("olmoe", "experts", {"num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 1.0}),
    Family("flex_olmo", "experts", {"num_experts": 4, "num_experts_per_tok": 2}),
    Family("granite", "multipliers; a window unread", {**GROUPED, **MULTIPLIERS, "sliding_window": WINDOW}),
    Family("granite_swa", "windows in some layers", {**WINDOWED, **MULTIPLIERS}),
    Family("granitemoe", "experts, multipliers", {**GROUPED, **MULTIPLIERS, **LOCAL_EXPERTS}),
    Family("granitemoe_swa", "experts, windows in some layers", {**WINDOWED, **MULTIPLIERS, **LOCAL_EXPERTS}),
    Family("granitemoeshared", "experts and a shared one", {**GROUPED, **MULTIPLIERS, **LOCAL_EXPERTS, "shared_intermediate_size": 16}),
    Family("cohere", "interleaved rope, norms of queries and keys", {"num_key_value_heads": 2, "use_qk_norm": True, "logit_scale": 0.5}),
    Family("cohere2", "windows in some layers, no rope in the others", {**FOUR_LAYERS, "num_key_value_heads": 2, "sliding_window": WINDOW, "layer_types": MIXED, "logit_scale": 0.5}),
    Family("cohere2_moe", "experts, windows in some layers", {**WINDOWED, "num_experts": 4, "num_experts_per_tok": 2, "logit_scale": 0.5}),
    Family("exaone4", "windows in some layers, no rope in the others", {**WINDOWED, "sliding_window_pattern": 2}),
    Family("exaone_moe", "experts, windows in some layers", {**WINDOWED, **EXPERTS, "sliding_window_pattern": 2}),
    Family("glm", "rope for a part of each head", {**GROUPED, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("glm4", "norms around each block", {**GROUPED, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("glm4_moe", "experts; a window unread", {**GROUPED, **ROUTED_EXPERTS, "use_qk_norm": True, "sliding_window": WINDOW}),
    Family("glm4_moe_lite", "latent attention, experts", {**LATENT, **ROUTED_EXPERTS}),
    Family("deepseek_v2", "latent attention, experts", {**LATENT, **ROUTED_EXPERTS, "topk_method": "group_limited_greedy"}),
    Family("deepseek_v3", "latent attention, experts in groups, yarn", {**LATENT, **ROUTED_EXPERTS, "rope_parameters": {**BASE, **YARN, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    Family("axk1", "latent attention, experts", {**LATENT, **ROUTED_EXPERTS}),
    Family("longcat_flash", "latent attention twice a layer, experts that do nothing", {**LATENT, "num_layers": 2, "n_routed_experts": 4, "zero_expert_num": 2, "moe_topk": 2, "ffn_hidden_size": 64, "expert_ffn_hidden_size": 16, "head_dim": 8}),
    Family("dots1", "experts, windows in the upper layers", {**GROUPED, **FOUR_LAYERS, **ROUTED_EXPERTS, "sliding_window": WINDOW, "max_window_layers": 2, "layer_types": [FULL, FULL, SLIDING, SLIDING]}),
    # Others.
    Family("starcoder2", "a sliding window", {"num_key_value_heads": 2, "sliding_window": WINDOW}),
    Family("stablelm", "rope for a part of each head, norms of each head", {"num_key_value_heads": 2, "qk_layernorm": True, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("persimmon", "rope for a part of each head", {"rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("nemotron", "squared ReLU, rope for a part of each head", {**GROUPED, "rope_parameters": {**BASE, "partial_rotary_factor": 0.5}}),
    Family("jetmoe", "experts in attention; a window unread", {**LOCAL_EXPERTS, "num_key_value_heads": 2, "kv_channels": 8, "sliding_window": WINDOW}),
    Family("dbrx", "experts, one clipped projection", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 640, "attn_config": {"kv_n_heads": 2, "clip_qkv": 2.0, "rope_theta": 10000.0}, "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32}}),
    Family("afmoe", "experts, gated attention, windows in some layers", {**WINDOWED, **EXPERTS, "num_shared_experts": 1, "num_dense_layers": 1}),
    Family("aria_text", "experts", {**GROUPED, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}),
    Family("doge", "masks that depend on the values", {**GROUPED, "keep_window_size": 16}),
    Family("doge, window", "a sliding window", {**GROUPED, "keep_window_size": 640, "sliding_window": WINDOW}, "doge"),
    Family("flint", "experts, windows", {**WINDOWED, **EXPERTS, "shared_expert_intermediate_size": 16}),
    Family("kolibri1", "experts, windows", {**WINDOWED, **EXPERTS, "shared_expert_intermediate_size": 16}),
    Family("laguna", "heads that differ by layer, experts, windows", {**WINDOWED, **EXPERTS, "shared_expert_intermediate_size": 16, "num_attention_heads_per_layer": [4, 2, 4, 2]}),
    Family("mellum", "experts, windows in some layers", {**WINDOWED, **EXPERTS}),
    Family("mimo_v2_flash", "sinks, windows, values of another size", {**WINDOWED, **ROUTED_EXPERTS, "v_head_dim": 12}),
    Family("modernbert-decoder", "windows in some layers", {**FOUR_LAYERS, "local_attention": WINDOW, "layer_types": MIXED}),
    Family("hrm_text", "layers that run several times", {**GROUPED}),
    Family("phi4_multimodal", "the text part of a model of images", {**GROUPED, "sliding_window": WINDOW}),
    Family("cohere_compass_text", "windows in some layers", {**FOUR_LAYERS, "num_key_value_heads": 2, "sliding_window": WINDOW, "layer_types": MIXED, "logit_scale": 0.5, "rope_parameters": {FULL: {"rope_type": "default", **BASE}, SLIDING: {"rope_type": "default", "rope_theta": 100.0}}}),
    Family("inkling_text", "relative positions", {}),
    Family("inkling2_text", "relative positions", {}),
    Family("minimax_m3_vl_text", "an index of blocks", {**GROUPED, **LOCAL_EXPERTS}),
    Family("hy_v4", "an index", {**LATENT, **ROUTED_EXPERTS, **INDEXED}),
    Family("axk2", "an index", {**LATENT, **ROUTED_EXPERTS, **INDEXED}),
    Family("dots3_note_text", "an index", {**LATENT, **ROUTED_EXPERTS, **INDEXED}),
    Family("cpmant", "?", {"dim_head": 8, "dim_ff": 64}),
    Family("deepseek_v32", "an index of what attention reads", {**LATENT, **ROUTED_EXPERTS, **INDEXED}),
    Family("deepseek_v4", "compressed keys", {**GROUPED, **ROUTED_EXPERTS, **INDEXED, "num_key_value_heads": 1}),
    Family("glm_moe_dsa", "an index of what attention reads", {**LATENT, **ROUTED_EXPERTS, **INDEXED}),
    Family("zaya", "?", {**GROUPED, **EXPERTS, "num_experts_per_tok": 1}),
    Family("roberta", "an encoder as decoder", {"is_decoder": True}),
    Family("roberta-prelayernorm", "an encoder as decoder", {"is_decoder": True}),
    Family("xlm-roberta-xl", "an encoder as decoder", {"is_decoder": True}),
    Family("megatron-bert", "an encoder as decoder", {"is_decoder": True}),
    Family("bert", "an encoder as decoder", {"is_decoder": True}),
    Family("rembert", "an encoder as decoder", {"is_decoder": True}),
    Family("roformer", "an encoder as decoder", {"is_decoder": True}),
    Family("xmod", "an encoder as decoder", {"is_decoder": True, "default_language": "en_XX"}),
    Family("roc_bert", "an encoder as decoder", {"is_decoder": True}),
    Family("big_bird", "an encoder as decoder", {"is_decoder": True}),
    Family("bert-generation", "an encoder as decoder", {"is_decoder": True}),
]

FAMILIES = {family.name: family for family in RIGHT}


def tiny_checkpoint(family: Family, seed: int = 0) -> PreTrainedModel:
    """A random float32 model in eval mode, the same for the same seed."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family.model_type, **{**SIZES, **family.options})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator) * SPREAD
            # Sinks, biases and norms matter too, around what they are.
            weight.copy_(noise if weight.ndim > 1 else weight + noise)
    return model
