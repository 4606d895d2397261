"""Folding the heads of a group changes how attention is computed, not what."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.backends.transformers import attention
from amulet_integrations.engine.backends.transformers.attention import (
    GROUPED_SDPA,
    grouped_sdpa_forward,
    use_grouped_attention,
)
from tests.support.tiny import tiny_model, tiny_tokenizer

LAYER = SimpleNamespace(num_key_value_groups=3, is_causal=True)


def attend(tokens, *, width=70, rows=2, heads=6, key_heads=2, dtype=torch.float32):
    """Query, key, value and a mask; keys and values lie token by token, as some caches do."""
    torch.manual_seed(tokens)
    query = torch.randn(rows, tokens, heads, 8, dtype=dtype).transpose(1, 2)
    key, value = torch.randn(2, rows, width, key_heads, 8, dtype=dtype).transpose(2, 3)
    mask = torch.rand(rows, 1, tokens, width) < 0.5
    mask[..., 0] = True
    return query, key, value, mask


@pytest.fixture
def unfolded(monkeypatch):
    """Calls that went to transformers."""
    calls = []

    def forward(*args, **kwargs):
        calls.append(kwargs)
        return sdpa_attention_forward(*args, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", forward)
    return calls


@pytest.mark.parametrize(("tokens", "folded"), [(1, True), (3, True), (64, True), (65, False)])
@pytest.mark.parametrize("added", [True, False])
def test_the_output_is_that_of_sdpa(tokens, folded, added, unfolded):
    query, key, value, mask = attend(tokens)
    if added:
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    expected, _ = sdpa_attention_forward(LAYER, query, key, value, mask, scaling=0.3)
    output, _ = grouped_sdpa_forward(LAYER, query, key, value, mask, scaling=0.3)
    assert output.is_contiguous()
    torch.testing.assert_close(output, expected)
    assert len(unfolded) == (0 if folded else 1)


def test_rows_may_share_a_mask(unfolded):
    query, key, value, mask = attend(3)
    expected, _ = sdpa_attention_forward(LAYER, query, key, value, mask[:1])
    torch.testing.assert_close(
        grouped_sdpa_forward(LAYER, query, key, value, mask[:1])[0], expected
    )
    assert not unfolded


@pytest.mark.parametrize(
    "other",
    [
        {"attention_mask": None},
        {"attention_mask": torch.ones(2, 6, 3, 70, dtype=torch.bool)},
        {"position_bias": torch.zeros(2, 6, 3, 70)},
    ],
    ids=["no mask", "a mask for each head", "position bias"],
)
def test_anything_else_is_left_to_transformers(other, unfolded):
    query, key, value, mask = attend(3)
    kwargs = {"attention_mask": mask, **other}
    expected, _ = sdpa_attention_forward(LAYER, query, key, value, **kwargs)
    assert torch.equal(grouped_sdpa_forward(LAYER, query, key, value, **kwargs)[0], expected)
    assert len(unfolded) == 1


@pytest.mark.parametrize("tokens", [1, 3, 64, 65])
def test_a_model_with_random_masks_gives_the_same(tokens):
    torch.manual_seed(tokens)
    plain, grouped = tiny_model(), tiny_model()
    use_grouped_attention(grouped)
    ids = torch.randint(2, 512, (2, tokens))
    mask = torch.rand(2, 1, tokens, tokens) < 0.5
    mask |= torch.eye(tokens, dtype=torch.bool)
    with torch.inference_mode():
        for given in (None, mask):
            torch.testing.assert_close(
                grouped(ids, attention_mask=given).logits, plain(ids, attention_mask=given).logits
            )


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, GROUPED_SDPA),
        ({"num_key_value_heads": 4}, "sdpa"),  # one query head for each
        ({"attn_implementation": "eager"}, "eager"),
        ({"model_type": "gpt2"}, "sdpa"),
        ({"model_type": "falcon", "num_kv_heads": 1}, "sdpa"),  # asks for the name itself
    ],
)
def test_only_models_that_gain_are_switched(changes, used):
    model = tiny_model(**changes)
    use_grouped_attention(model)
    assert model.config._attn_implementation == used


def test_a_checkpoint_is_switched_unless_it_names_an_implementation(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    for chosen, used in ((None, GROUPED_SDPA), ("sdpa", "sdpa"), ("eager", "eager")):
        with LocalEngine.from_pretrained(str(tmp_path), attn_implementation=chosen) as engine:
            assert engine.backend.model.config._attn_implementation == used


def test_a_switched_model_is_saved_and_shown_as_any_other(tmp_path):
    model = tiny_model()
    shown = repr(model), repr(model.config)
    use_grouped_attention(model)
    assert (repr(model), repr(model.config)) == shown
    model.save_pretrained(tmp_path)
    assert GROUPED_SDPA not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
