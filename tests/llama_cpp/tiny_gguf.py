"""Tiny models as GGUF files in float32, with the vocabulary of the tiny tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.support.tiny import CHATML, tiny_tokenizer

# Llama; Gemma 2 calls two of its norms otherwise, and has two more; Phi-3 joins some weights.
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

_PHI_NAMES = {**_NAMES, "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
_GEMMA_NAMES = {
    **_NAMES,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def write_tiny_gguf(
    path: Path, model: PreTrainedModel, *, architecture: str = "llama", **entries: object
) -> Path:
    """Writes a tiny model.

    Args:
        path: The file.
        model: From `tiny_model`: a Llama, a Phi-3 with longrope, or a Gemma 2 of which
            `query_pre_attn_scalar` is the size of a head.
        architecture: The family: "llama", "phi3" or "gemma2".
        entries: Entries of its metadata that are added, without the family.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = config.hidden_size // config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or head_dim
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    gemma, phi = architecture == "gemma2", architecture == "phi3"
    if phi:
        _add_rope_factors(writer, model)
    if gemma:
        writer.add_sliding_window(config.sliding_window)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    for name, value in entries.items():
        key = f"{architecture}.{name.replace('__', '.')}"
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(key, value)
    _add_vocabulary(writer)
    for name, tensor in model.state_dict().items():
        if gemma and name == "lm_head.weight":
            continue  # the embedding, once more
        laid_out = _of_gemma(name, tensor) if gemma else _laid_out(name, tensor, config)
        names = _GEMMA_NAMES if gemma else _PHI_NAMES if phi else _NAMES
        writer.add_tensor(_name(name, names), laid_out.numpy())
    return _close(writer, path)


def write_tiny_mamba(path: Path) -> Path:
    """Writes a recurrent model with random weights."""
    width, inner, states, rank = 32, 64, 8, 4
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(640)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(states)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_vocabulary(writer)
    shapes = {
        "token_embd.weight": (512, width),
        "output_norm.weight": (width,),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.ssm_in.weight": (2 * inner, width),
        "blk.0.ssm_conv1d.weight": (inner, 4),
        "blk.0.ssm_conv1d.bias": (inner,),
        "blk.0.ssm_x.weight": (rank + 2 * states, inner),
        "blk.0.ssm_dt.weight": (inner, rank),
        "blk.0.ssm_dt.bias": (inner,),
        "blk.0.ssm_a": (inner, states),
        "blk.0.ssm_d": (inner,),
        "blk.0.ssm_out.weight": (width, inner),
    }
    generator = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        writer.add_tensor(name, torch.randn(shape, generator=generator).numpy())
    return _close(writer, path)


def _close(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    tokenizer = tiny_tokenizer()
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.all_special_ids)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    # The model has more rows than the tokenizer has tokens, as many checkpoints do.
    missing = range(len(tokens), 512)
    writer.add_token_list([*tokens, *(f"[PAD{index}]" for index in missing)])
    kinds = [
        gguf.TokenType.CONTROL if it in special else gguf.TokenType.NORMAL
        for it in range(len(tokens))
    ]
    writer.add_token_types([*kinds, *(gguf.TokenType.UNUSED for _ in missing)])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def _add_rope_factors(writer: gguf.GGUFWriter, model: PreTrainedModel) -> None:
    rope = model.config.rope_parameters
    short_window = rope["original_max_position_embeddings"]
    if short_window != model.config.max_position_embeddings:
        writer.add_rope_scaling_orig_ctx_len(short_window)
    writer.add_rope_scaling_attn_factors(model.model.rotary_emb.attention_scaling)
    for kind in ("short", "long"):
        factors = np.array(rope[f"{kind}_factor"], np.float32)
        writer.add_tensor(f"rope_factors_{kind}.weight", factors)


def _of_gemma(name: str, tensor: Tensor) -> Tensor:
    """transformers holds how much the weights of norms differ from 1."""
    return tensor.detach() + 1 if "norm" in name else tensor.detach().contiguous()


def _name(name: str, names: dict[str, str]) -> str:
    name = name.removeprefix("model.")
    outer = {
        "embed_tokens.weight": "token_embd.weight",
        "norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in outer:
        return outer[name]
    _, layer, inner = name.split(".", 2)
    return f"blk.{layer}.{names[inner.removesuffix('.weight')]}.weight"


def _laid_out(name: str, tensor: Tensor, config) -> Tensor:
    """llama.cpp rotates neighbours, transformers the halves of a head."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((heads[part] for part in heads if part in name), None)
    if count is None:
        return tensor.contiguous()
    halves = tensor.reshape(count, 2, config.head_dim // 2, -1)
    return torch.transpose(halves, 1, 2).reshape(tensor.shape).contiguous()
