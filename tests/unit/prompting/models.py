"""Small real tokenizers and the chat templates of well-known models, made without a network."""

from __future__ import annotations

from functools import cache
from unicodedata import normalize

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "You are a helpful assistant. Answer the user in a short and friendly way.",
    "user\nWhat is the capital of France?\nassistant\nThe capital of France is Paris.",
    "system user model assistant <start> </end> im_start im_end [INST] think thinking tool call",
    "Answer like a pirate. Be brief, be kind. Über naïve cafés: 日本語, emoji 🙂.",
] * 20

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_OWN_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Qwen.<|im_end|>\n"
    "{% endif %}" + CHATML
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m['content'] %}{% set reasoning = '' %}"
    "{% if m['role'] == 'assistant' %}"
    "{% if m.reasoning_content is string %}{% set reasoning = m.reasoning_content %}"
    "{% elif '</think>' in content %}"
    "{% set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and reasoning %}"
    "{% set content = '<think>\n' + reasoning + '\n</think>\n\n' + content %}{% endif %}"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}"
    "{{ eos_token }}{% endif %}"
)
# Writes the system text in front of the last user turn, if that ends the conversation.
MISTRAL3 = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}"
    "{{ bos_token }}{% for m in turns %}"
    "{% if m['role'] == 'user' %}{% if (loop.index0 % 2) == 1 %}"
    "{{ raise_exception('conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if loop.last and system is defined %}"
    "{{ '[INST] ' + system + '\n\n' + m['content'] + '[/INST]' }}"
    "{% else %}{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
# Drops a switch out of the system text, and writes differently where it stands.
SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'].replace('/no_think', '') }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if '/no_think' in messages[0]['content'] %}<think>\n\n</think>\n{% endif %}"
)
# Markers that are no tokens of the vocabulary, as Zephyr writes them.
ZEPHYR = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' }}"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' }}{% else %}{{ '<|assistant|>\n' }}"
    "{% endif %}{{ m['content'] + eos_token + '\n' }}{% endfor %}<|assistant|>\n"
)

TEMPLATES = {
    "chatml": CHATML,
    "chatml-own-system": CHATML_OWN_SYSTEM,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "llama3": LLAMA3,
    "qwen3": QWEN3,
    "switched": SWITCHED,
    "zephyr": ZEPHYR,
    "phi3": PHI3,
    "mistral3": MISTRAL3,
}

SPECIAL = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|end|>",
]
NOT_SPECIAL = ["<think>", "</think>", "<tool_call>"]
CONTROL = [*SPECIAL, *NOT_SPECIAL]


def _wrap(tokenizer: Tokenizer, template: str | None) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    # Spaces and single characters among added tokens are ordinary text.
    plain = [AddedToken(token, normalized=False) for token in [*NOT_SPECIAL, "\n\n\n", "ツ"]]
    tokenizer.add_tokens(plain)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


@cache
def _byte_level() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=600,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer.to_str()


def byte_level(template: str | None = CHATML, *, normalizer: bool = False):
    """As GPT-2's and its descendants'; with a normaliser that folds full-width letters."""
    tokenizer = Tokenizer.from_str(_byte_level())
    if normalizer:
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.add_tokens([AddedToken("<|tool|>", normalized=True)])
    return _wrap(tokenizer, template)


@cache
def _metaspace() -> str:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


def metaspace(template: str | None = MISTRAL, *, scheme: str = "first", byte_fallback: bool = True):
    """As sentencepiece's: spaces become `▁`, with one put in front of a text."""
    trained = Tokenizer.from_str(_metaspace())
    model = trained.model
    model.byte_fallback = byte_fallback
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True)])
    wrapped = _wrap(tokenizer, template)
    wrapped.unk_token = "<unk>"
    return wrapped


class CharacterTokenizer(PreTrainedTokenizer):
    """A tokenizer in Python, without offsets: one token for each character."""

    def __init__(self, *, normalizer: bool, **kwargs) -> None:
        self._normalizer = normalizer
        super().__init__(bos_token="<s>", eos_token="</s>", **kwargs)
        self.add_tokens([AddedToken(token, special=True) for token in SPECIAL[2:]])
        self.add_tokens([AddedToken(token) for token in NOT_SPECIAL])

    @property
    def vocab_size(self) -> int:
        return 0x110000

    def get_vocab(self) -> dict[str, int]:
        return dict(self.added_tokens_encoder)

    def prepare_for_tokenization(self, text: str, **kwargs):
        return (normalize("NFKC", text) if self._normalizer else text), kwargs

    def _tokenize(self, text: str, **_) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token) + 1000  # clear of the added tokens

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index - 1000)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


def in_python(template: str | None = CHATML, *, normalizer: bool = False) -> CharacterTokenizer:
    return CharacterTokenizer(chat_template=template, normalizer=normalizer)
