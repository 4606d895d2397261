"""Chat templates in the shape of well-known families', with the tokens that each of them adds."""

from __future__ import annotations

from functools import cache

from transformers import PreTrainedTokenizerFast

from tests.support.tiny import tiny_tokenizer

from .control_tokens import CONTROL_TOKENS


def _each(before: str, after: str, answer: str, *, first: str = "", last: str = "") -> str:
    """A template of turns between `before` and `after`, `ROLE` in them standing for the role."""

    def written(text: str) -> str:
        return text.replace("ROLE", "{{ role }}")

    return (
        f"{first}{{% for m in messages %}}"
        "{% set role = names[m.role] if names is defined else m.role %}"
        f"{written(before)}{{{{ m.content }}}}{written(after)}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{answer}{{% endif %}}{last}"
    )


_COMMAND_R = (
    "{% set names = {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>', "
    "'assistant': '<|CHATBOT_TOKEN|>'} %}"
)
_DEEPSEEK = (
    "<｜begin▁of▁sentence｜>{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content + '<｜end▁of▁sentence｜>' }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
_LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'system' %}{% set system = m.content %}"
    "{% endif %}{% endfor %}"
    "{% if messages[0].role == 'system' %}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}{% if m.role == 'user' %}{{ '<s>[INST] ' }}"
    "{% if loop.first and messages[0].role == 'system' %}"
    "{{ '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ m.content | trim + ' [/INST]' }}{% else %}{{ ' ' + m.content | trim + ' </s>' }}"
    "{% endif %}{% endfor %}"
)
_MISTRAL = (
    "<s>{% for m in messages %}{% if m.role == 'system' %}"
    "{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}"
    "{% elif m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
    "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
)
_GEMMA = (
    "<bos>{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

TEMPLATES: dict[str, str] = {
    "chatml": _each("<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "qwen": _each("<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n<think>\n"),
    "llama2": _LLAMA2,
    "llama3": _each(
        "<|start_header_id|>ROLE<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        first="<|begin_of_text|>",
    ),
    "llama4": _each(
        "<|header_start|>ROLE<|header_end|>\n\n",
        "<|eot|>",
        "<|header_start|>assistant<|header_end|>\n\n",
    ),
    "gemma": _GEMMA,
    "phi3": _each("<|ROLE|>\n", "<|end|>\n", "<|assistant|>\n"),
    "phi4": _each("<|im_start|>ROLE<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
    "mistral": _MISTRAL,
    "deepseek": _DEEPSEEK,
    "command-r": _each(
        "<|START_OF_TURN_TOKEN|>ROLE",
        "<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        first="<BOS_TOKEN>" + _COMMAND_R,
    ),
    "glm": _each("<|ROLE|>\n", "", "<|assistant|>", first="[gMASK]<sop>"),
    "harmony": _each(
        "<|start|>ROLE<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>"
    ),
    "smollm": _each("<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "granite": _each(
        "<|start_of_role|>ROLE<|end_of_role|>",
        "<|end_of_text|>\n",
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "kimi": _each(
        "<|im_ROLE|>ROLE<|im_middle|>", "<|im_end|>", "<|im_assistant|>assistant<|im_middle|>"
    ),
    "minimax": _each("]~b]ROLE\n", "[e~[\n", "]~b]ai\n", first="]~!b["),
    # Markers that are no tokens of any vocabulary.
    "alpaca": _each("### ROLE:\n", "\n\n", "### assistant:\n"),
}
"""A template of each family."""

_BORROWED = {
    "qwen": ("chatml",),
    "mistral": ("llama2",),
    "phi4": ("chatml",),
    "glm": ("phi3",),
    "harmony": ("phi3",),
    "smollm": ("chatml", "qwen"),
    "granite": ("llama3",),
    "kimi": ("chatml",),
}


def control_tokens(family: str) -> tuple[str, ...]:
    """The tokens that the tokenizer of a family adds."""
    families = (family, *_BORROWED.get(family, ()))
    return tuple(token for each in families for token in CONTROL_TOKENS.get(each, ()))


@cache
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """A small byte-level tokenizer with the family's tokens and template."""
    tokenizer = tiny_tokenizer(TEMPLATES[family])
    if added := control_tokens(family):
        tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
    return tokenizer
