"""The token that ends an assistant's turn, for templates of many kinds."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from amulet_integrations.decoding.turn_end import turn_end_token
from tests.support.tiny import CHATML, tiny_tokenizer
from tests.unit.prompting import models
from tests.unit.prompting.models import TEMPLATES, byte_level

OF_FAMILIES = {
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "mistral3": "</s>",
    "llama3": "<|eot_id|>",
    "zephyr": "</s>",
    "phi3": "<|end|>",
}


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_token_of_a_well_known_family(family):
    tokenizer = byte_level(TEMPLATES[family])
    expected = tokenizer.convert_tokens_to_ids(OF_FAMILIES.get(family, "<|im_end|>"))
    assert turn_end_token(tokenizer) == expected


def test_a_template_that_is_passed_counts_before_the_tokenizers_own():
    tokenizer = byte_level(models.LLAMA3)
    assert turn_end_token(tokenizer, CHATML) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.chat_template = None
    assert turn_end_token(tokenizer) is None
    assert turn_end_token(tokenizer, CHATML) == tokenizer.convert_tokens_to_ids("<|im_end|>")


def written(*, user="", after_user="", after="", opened="", last=""):
    """A template; what is written before and after a turn, and to open an answer or at the end."""
    return (
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        f"{user}{{{{ m['content'] }}}}{after_user}"
        f"{{% elif m['role'] == 'assistant' %}}{{{{ m['content'] }}}}{after}{{% endif %}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{opened}{{% endif %}}{last}"
    )


REFUSES_A_THIRD = "{% if messages | length > 2 %}{{ raise_exception('Too many.') }}{% endif %}"
REFUSES_THE_PROMPT = "{% if add_generation_prompt %}{{ raise_exception('No.') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (written(), None),
        (written(after="\n <|im_end|>"), "<|im_end|>"),
        (written(after="EOS"), "EOS"),
        (written(after="[]"), "[]"),
        (written(after="[e]"), "[e]"),
        (written(after="<|end|>"), "<|end|>"),
        (written(after="<|end|>>"), "<|end|>>"),
        # What opens the user's turn, where nothing else ends the answer.
        (written(user="<|end|>", opened="<bot>"), "<|end|>"),
        (written(user="<|end|>", after="<|im_end|>", opened="<bot>"), "<|im_end|>"),
        (written(after_user="<|end|>", opened="<bot>"), None),
        # An answer is opened whether or not it was wanted.
        (written(last="<bot>", after="<|im_end|>"), "<|im_end|>"),
        (written(last="<bot>", user="<|end|>"), "<|end|>"),
        (written(last="<bot>"), None),
        (written(last="<|end|>", opened="<bot>"), "<|end|>"),
        # Words, white space and single characters are text, though they are added tokens.
        *[(written(after=text), None) for text in ("word", "<ab", "ab>", "#", "\n\n\n", "\t")],
        # Templates that refuse a conversation.
        (REFUSES_A_THIRD + written(after="<|im_end|>", opened="<bot>"), "<|im_end|>"),
        (REFUSES_A_THIRD + written(after="<|im_end|>"), "<|im_end|>"),
        (REFUSES_THE_PROMPT + written(after="<|im_end|>"), "<|im_end|>"),
        ("{{ raise_exception('Never.') }}", None),
    ],
)
def test_templates_of_every_kind(template, end):
    tokenizer = tiny_tokenizer(template)
    special = ["EOS", "<bot>", "\t"]
    plain = ["[]", "[e]", "<|end|>", "<|end|>>", "word", "<ab", "ab>", "#", "\n\n\n"]
    tokenizer.add_tokens([AddedToken(text, special=text in special) for text in special + plain])
    expected = None if end is None else tokenizer.convert_tokens_to_ids(end)
    assert turn_end_token(tokenizer) == expected
    tokenizer.chat_template = CHATML
    assert turn_end_token(tokenizer, template) == expected
