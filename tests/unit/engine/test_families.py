"""One family for each mechanism of attention writes what plain transformers writes.

All families, at more length, are in tests/acceptance/test_families.py.
"""

from __future__ import annotations

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import UnsupportedModelError
from tests.support.families import FAMILIES, tiny_checkpoint
from tests.support.families.trials import Trial, at_once
from tests.support.tiny import tiny_tokenizer

MECHANISMS = [
    "llama, window",  # a window that is never read
    "mistral",  # a window in every layer
    "gemma2",  # windows in some layers, capped attention
    "gemma3n_text",  # layers that share keys
    "gemma4_text",  # heads of two sizes
    "gemma3_text, longrope",  # frequencies that differ by layer and length
    "llama4_text",  # chunks, layers without positions
    "gpt_oss",  # sinks
    "deepseek_v3",  # latent attention, experts
    "opt",  # learned positions
    "gpt_neo",  # windows that only the model's own code knows
    "mpt",  # ALiBi, a window by another name
    "falcon, alibi",
]
UNFIT = ["deepseek_v32", "openai-gpt", "gemma, bidirectional", "roberta", "lfm2"]


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_family_is_right_with_all_at_once(name):
    family = FAMILIES[name]
    model = tiny_checkpoint(family)
    with LocalEngine(model, tiny_tokenizer(), max_prefill_tokens=16) as engine:
        assert engine.context_window == family.context_window
        at_once(Trial(family, engine, model))


@pytest.mark.parametrize("name", UNFIT)
def test_a_family_is_refused_that_cannot_run(name):
    with pytest.raises(UnsupportedModelError, match=FAMILIES[name].model_type):
        LocalEngine(tiny_checkpoint(FAMILIES[name]), tiny_tokenizer())
