"""A token whose states are NaN spoils its own request, and no row beside it or after it."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.engine import GenerationRequest
from amulet_integrations.errors import GenerationError, UnsupportedModelError
from tests.contract.subjects import BAD, llama_cpp_subject, requests, tiny_gguf
from tests.llama_cpp.engines import EXACT, engine_of
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import tiny_model


@pytest.mark.parametrize("flash_attn", [True, False])
def test_nan_reaches_no_other_row(tmp_path, flash_attn):
    tiny, model = llama_cpp_subject(), tiny_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[BAD] = torch.nan
    file = write_tiny_gguf(tmp_path / "nan.gguf", model)
    good = requests()
    bad = GenerationRequest(contexts=[[5, 6], [8, BAD, 7]], weights=[-1.0, 2.0])
    with engine_of(file, **{**EXACT, "flash_attn": flash_attn}) as engine:
        for _ in range(2):  # again, in the cells of the request that failed
            outcomes = engine.generate([good[0], bad, *good[1:]], return_exceptions=True)
            assert isinstance(outcomes.pop(1), GenerationError)
            assert [it.token_ids for it in outcomes] == list(map(tiny.greedy, good))
            engine.forget_prefixes()
            results = engine.generate(good)
            assert [it.token_ids for it in results] == list(map(tiny.greedy, good))


def test_a_model_without_numbers_is_refused_when_it_is_loaded(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    file = write_tiny_gguf(tmp_path / "nan.gguf", model)
    with pytest.raises(UnsupportedModelError, match=r"nan\.gguf.*The logits are NaN"):
        engine_of(file, **EXACT)
    with pytest.raises(UnsupportedModelError, match=r"rope_freq_base"):
        engine_of(tiny_gguf(), rope_freq_base=-1.0, **EXACT)
