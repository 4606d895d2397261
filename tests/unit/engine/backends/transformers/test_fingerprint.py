"""A fingerprint is that of the checkpoint, and of nothing that loading it changes."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.backends.transformers.fingerprint import model_fingerprint
from amulet_integrations.errors import EngineClosedError
from tests.support.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One checkpoint in two folders."""
    folders = [tmp_path_factory.mktemp("model") for _ in range(2)]
    for folder in folders:
        tiny_model().save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return folders


def of_loaded(folder, **options):
    with LocalEngine.from_pretrained(str(folder), **options) as engine:
        return engine.model_fingerprint


def test_it_is_that_of_the_checkpoint_however_it_is_loaded(saved):
    expected = of_loaded(saved[0], dtype="float32")
    assert len(expected) == 64
    assert of_loaded(saved[1], dtype="float32", pack_weights=False) == expected
    assert of_loaded(saved[0], dtype="bfloat16") == expected
    assert of_loaded(saved[0], dtype="float32", attn_implementation="eager") == expected


def test_another_checkpoint_has_another():
    found = {
        model_fingerprint(model)
        for model in (
            tiny_model(),
            tiny_model(seed=1),
            tiny_model("qwen2"),
            tiny_model(num_hidden_layers=1),
            tiny_model(rms_norm_eps=1e-3),
        )
    }
    assert len(found) == 5


def test_one_changed_matrix_is_seen():
    model = tiny_model()
    before = model_fingerprint(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.1)
    assert model_fingerprint(model) != before


def test_an_engine_keeps_it(tiny_engine):
    assert tiny_engine.model_fingerprint == tiny_engine.model_fingerprint
    engine = LocalEngine(tiny_model(), tiny_tokenizer())
    engine.close()
    with pytest.raises(EngineClosedError):
        _ = engine.model_fingerprint
