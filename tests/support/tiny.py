"""A small real tokenizer and small random models of several architectures, without a network."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from amulet_integrations.engine import LocalEngine

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 512
CONTEXT_WINDOW = 640
# Weights this large make random models prefer some tokens clearly, so that greedy has no ties.
SPREAD = 0.3

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_WINDOW,
    "vocab_size": VOCABULARY,
    "initializer_range": SPREAD,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = ["system user assistant You are a helpful assistant. Be brief. The sea is blue. "] * 9
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    return tokenizer.to_str()


def tiny_tokenizer(chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE with ChatML's control tokens; it can write any text."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def tiny_model(model_type: str = "llama", seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random float32 model in eval mode, the same for the same seed."""
    torch.manual_seed(seed)
    sizes = {**SIZES, **changes}
    if model_type in {"llama", "mistral", "qwen2", "qwen3", "gemma2"}:
        sizes.setdefault("num_key_value_heads", 2)
        sizes.setdefault("head_dim", 8)
    config = AutoConfig.for_model(model_type, **sizes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def tiny_engine(**changes: object) -> LocalEngine:
    """An engine of a tiny Llama. It writes nonsense, quickly and always the same."""
    return LocalEngine(tiny_model(**changes), tiny_tokenizer(), model_name="tiny")
