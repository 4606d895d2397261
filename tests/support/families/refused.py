"""Families that an engine cannot run, or not exactly: they are refused when they are loaded."""

from __future__ import annotations

from functools import partial

from .family import (
    EXPERTS,
    FULL,
    GPT2_SIZES,
    GROUPED,
    INDEXED,
    LATENT,
    LINEAR_ATTENTION,
    LOCAL_EXPERTS,
    MAMBA,
    MIXED,
    ROUTED_EXPERTS,
    family,
)

refused = partial(family, refused=True)

# fmt: off
REFUSED = (
    # A state that each token changes.
    refused("mamba", "a state", state_size=4),
    refused("mamba2", "a state", state_size=4, num_heads=8, head_dim=8, n_groups=1, expand=2),
    refused("falcon_mamba", "a state", state_size=4),
    refused("rwkv", "a state", attention_hidden_size=32),
    refused("xlstm", "a state", num_heads=4, num_blocks=2),
    refused("recurrent_gemma", "a state in some layers", num_hidden_layers=3, lru_width=32,
            attention_window_size=8, head_dim=8, num_key_value_heads=1),
    refused("jamba", "a state in some layers", num_hidden_layers=4, num_experts=4,
            num_experts_per_tok=2, num_key_value_heads=2, attn_layer_period=2,
            attn_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4, use_mamba_kernels=False),
    refused("falcon_h1", "a state in every layer", GROUPED, MAMBA, mamba_d_ssm=32,
            mamba_n_heads=4),
    refused("zamba", "a state in every layer", num_hidden_layers=4, mamba_d_state=4,
            layers_block_type=["mamba", "hybrid"] * 2, attention_hidden_size=64, mamba_dt_rank=4,
            n_mamba_heads=2, use_mamba_kernels=False),
    refused("zamba2", "a state in every layer", num_hidden_layers=4, mamba_d_state=4,
            layers_block_type=["mamba", "hybrid"] * 2, mamba_ngroups=1, n_mamba_heads=8,
            mamba_headdim=8, num_mem_blocks=1, use_shared_attention_adapter=False),
    refused("bamba", "a state in some layers", GROUPED, MAMBA, attn_layer_indices=[1]),
    refused("granitemoehybrid", "Granite 4; a state in some layers", GROUPED, LOCAL_EXPERTS,
            MAMBA, layer_types=["mamba", "attention"], shared_intermediate_size=16),
    refused("granitemoehybrid, attention", "Granite 4 that has no recurrent layer", GROUPED,
            LOCAL_EXPERTS, MAMBA, layer_types=["attention"] * 2, shared_intermediate_size=16),
    refused("nemotron_h", "a state in some layers", GROUPED, num_hidden_layers=4,
            hybrid_override_pattern="M-*-", mamba_num_heads=8, mamba_head_dim=8,
            ssm_state_size=4, n_groups=1),
    refused("lfm2", "convolutions over the last tokens", GROUPED, layer_types=["conv", FULL],
            block_multiple_of=8),
    refused("lfm2_moe", "convolutions over the last tokens", GROUPED, EXPERTS,
            num_dense_layers=1, layer_types=["conv", FULL]),
    refused("qwen3_next", "linear attention in some layers", GROUPED, EXPERTS, LINEAR_ATTENTION,
            shared_expert_intermediate_size=16),
    refused("qwen3_5_text", "linear attention in some layers", GROUPED, LINEAR_ATTENTION),
    refused("minimax", "linear attention in some layers", GROUPED, LOCAL_EXPERTS,
            layer_types=["linear_attention", FULL], block_size=16),
    refused("olmo_hybrid", "linear attention in some layers", LINEAR_ATTENTION),
    # More of the past than keys and values.
    refused("deepseek_v32", "an index of what attention reads", LATENT, ROUTED_EXPERTS, INDEXED),
    refused("glm_moe_dsa", "GLM 5; an index of what attention reads", LATENT, ROUTED_EXPERTS,
            INDEXED),
    refused("hy_v4", "an index of what attention reads", LATENT, ROUTED_EXPERTS, INDEXED),
    refused("axk2", "an index of what attention reads", LATENT, ROUTED_EXPERTS, INDEXED),
    refused("minimax_m3_vl_text, sparse", "an index of what attention reads", GROUPED,
            LOCAL_EXPERTS, layer_types=["minimax_m3_sparse", FULL], index_n_heads=2,
            index_head_dim=8, index_block_size=4, index_topk_blocks=2),
    refused("deepseek_v4", "compressed keys", GROUPED, ROUTED_EXPERTS, INDEXED,
            num_key_value_heads=1, q_lora_rank=16, o_lora_rank=16, o_groups=2),
    # No cache, or one that holds more than the tokens.
    refused("openai-gpt", "no cache", GPT2_SIZES),
    refused("cpmant", "tokens of its own before the prompt", dim_head=8, dim_ff=64),
    # What a token sees depends on what comes with it.
    refused("gemma, bidirectional", "tokens see what comes after them", GROUPED,
            use_bidirectional_attention=True),
    refused("gemma3_text, bidirectional", "tokens see what comes after them", GROUPED, MIXED,
            use_bidirectional_attention=True),
    refused("doge", "the best keys of a pass, and no others", GROUPED, keep_window_size=16),
    refused("bert, encoder", "tokens see what comes after them"),
    # Positions that depend on padding.
    refused("roberta", "an encoder that was trained as a decoder", is_decoder=True),
    refused("roberta-prelayernorm", "an encoder that was trained as a decoder", is_decoder=True),
    refused("xlm-roberta-xl", "an encoder that was trained as a decoder", is_decoder=True),
)
# fmt: on
