"""A model with two sets of rotary factors keeps to one, whatever the size of a context is."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.engine import LocalEngine, ModelSource
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.engine.backends.llama_cpp.llama_loader import llama_cpp_context_window
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from tests.contract.subjects import tokens
from tests.llama_cpp.engines import EXACT, asked, backend_of, engine_of
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.families.family import LONGROPE
from tests.support.tiny import tiny_model

TRAINED, CELLS = 2048, (256, 4096)


def phi(short_window: int, **changes: object):
    rope = {**LONGROPE, "original_max_position_embeddings": short_window, **changes}
    return tiny_model(
        "phi3",
        num_key_value_heads=2,
        pad_token_id=0,
        max_position_embeddings=TRAINED,
        original_max_position_embeddings=short_window,
        rope_parameters=rope,
    )


@pytest.fixture(scope="module", params=[100, 512], ids="short window of {}".format)
def short_window(request) -> int:
    """Below the fewest cells of a context of llama.cpp, and above them."""
    return request.param


@pytest.fixture(scope="module")
def model(short_window):
    return phi(short_window)


@pytest.fixture(scope="module")
def file(model, short_window, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / f"phi-{short_window}.gguf"
    return write_tiny_gguf(path, model, architecture="phi3")


def expected(model, ids):
    with torch.no_grad():
        return model(torch.tensor([[*ids]])).logits[0, -1]


def logits(file, ids, cells, **options):
    """After a text, in a context of so many cells."""
    backend = backend_of(file, **EXACT, **options)
    cache = backend.new_cache(1, cells)
    cache.add(1)
    try:
        return backend.forward(cache, [RowInput(0, [*ids])])[0, -1]
    finally:
        cache.close()
        backend.release()


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("length", [12, 90])
def test_short_texts_have_the_logits_of_transformers(file, model, length, cells):
    ids = tokens(1, length)
    torch.testing.assert_close(logits(file, ids, cells), expected(model, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cells", CELLS)
def test_a_larger_window_takes_the_long_set_for_all_texts(file, model, short_window, cells):
    always_long = phi(short_window, short_factor=LONGROPE["long_factor"])
    always_long.load_state_dict(model.state_dict())
    ids = tokens(1, 90)
    found = logits(file, ids, cells, n_ctx=short_window + 1)
    torch.testing.assert_close(found, expected(always_long, ids), atol=1e-4, rtol=1e-4)
    assert (found - expected(model, ids)).abs().max() > 0.01


def test_texts_past_the_short_set_have_the_logits_of_transformers(file, model, short_window):
    ids = tokens(1, short_window + 50)
    found = logits(file, ids, 1024, n_ctx=TRAINED)
    torch.testing.assert_close(found, expected(model, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("larger", [False, True])
def test_scores_are_those_of_decoding(file, short_window, larger):
    options = {"n_ctx": short_window + 400} if larger else {}
    with engine_of(file, limits={"max_cache_tokens": 4096}, **EXACT, **options) as engine:
        request = asked(engine, "Why?", max_new_tokens=12, explain=0)
        (result,) = engine.generate([request])
        scores = engine.score(request.contexts, result.token_ids)
    found = torch.tensor([each.context_logprobs for each in result.explanations]).T
    torch.testing.assert_close(found, scores.to(found), atol=1e-4, rtol=1e-4)


def test_the_window_ends_with_the_short_set(file, short_window):
    assert window(file) == short_window
    assert window(file, n_ctx=64) == 64
    assert window(file, n_ctx=TRAINED) == TRAINED


def window(file, **options) -> int:
    """As a wrapper finds it, and as the engine has it."""
    with LocalEngine.from_pretrained(file, max_rows=2, **options) as engine:
        loaded = engine.context_window
    source = ModelSource(model=str(file), llama_cpp_options=LlamaCppOptions(**options))
    assert llama_cpp_context_window(source) == loaded
    return loaded


def test_a_file_that_names_no_short_window_has_the_short_set_alone(tmp_path):
    model = phi(TRAINED)
    file = write_tiny_gguf(tmp_path / "phi.gguf", model, architecture="phi3")
    ids = tokens(1, 90)
    torch.testing.assert_close(logits(file, ids, 4096), expected(model, ids), atol=1e-4, rtol=1e-4)
