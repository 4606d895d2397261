"""Names to methods, methods to weights, and beam search beside transformers' own."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import linear_alignment_weights
from amulet_integrations.decoding.strength import PRESETS, Preset
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.backends.transformers.beam_search import beam_search
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
    EvaluationError,
    GuidanceScaleError,
)
from amulet_integrations.evaluation import DEFAULT_GRID, DEFAULT_METHODS, Method, read_methods
from amulet_integrations.evaluation.data.methods import (
    context_weights,
    grid,
    guidance_scale,
    strength_of,
    strengths,
)
from tests.support.tiny import CONTEXT_WINDOW, tiny_engine, tiny_model, tiny_tokenizer

PROMPT = tiny_tokenizer()("You are a helpful assistant. The sea is blue.").input_ids


def test_the_five_of_the_paper_are_the_default():
    assert DEFAULT_METHODS == ("base", "pref", "beam_search", "linear_alignment", "amulet")
    methods = read_methods(DEFAULT_METHODS)
    assert [method.name for method in methods] == list(DEFAULT_METHODS)
    assert methods[2].num_beams == 16


@pytest.mark.parametrize(
    ("name", "scale", "bound"),
    [
        ("base", 0.0, None),
        ("pref", 1.0, None),
        ("amulet", *PRESETS["default"]),
        ("amulet@gentle", *PRESETS["gentle"]),
        ("amulet@strong", *PRESETS["strong"]),
        ("amulet@paper", 5.64870, None),
        ("amulet@1", 1.95238, None),
        ("amulet@10", 3.89756, None),
        ("amulet@p=2.5", 2.5, None),
        ("amulet@2,kl=0.2", 2.46341, 0.2),
        ("amulet@p=3, kl=0.1", 3.0, 0.1),
        ("amulet,kl=0", PRESETS["default"].guidance_scale, 0.0),
        ("amulet@strong,kl=none", PRESETS["strong"].guidance_scale, None),
        ("linear_alignment", 3.0, None),
        ("linear_alignment@1.5,kl=0.2", 2.5, 0.2),
    ],
)
def test_a_name_sets_the_guidance_scale_and_the_bound(name, scale, bound):
    (method,) = read_methods([name])
    assert method.name == name.replace(" ", "")
    assert guidance_scale(method) == pytest.approx(scale, abs=1e-5)
    assert method.max_kl == bound


def test_the_grid_is_every_scale_under_every_bound_with_names_that_read_back():
    assert len(grid()) == len(set(grid())) == 12
    assert [strength_of(method) for method in read_methods(grid())] == list(DEFAULT_GRID)
    assert grid([Preset(2.0, None)]) == ("amulet@p=2,kl=none",)


def test_settings_without_these_fields_are_of_methods_without_a_bound():
    old = {"name": "amulet", "kind": "amulet", "params": AmuletParams().model_dump()}
    assert strength_of(Method.model_validate(old)) == PRESETS["paper"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pref", "max_kl": 0.2}, "pref has no guidance to hold back"),
        ({"kind": "amulet", "max_kl": -0.1}, "max_kl=-0.1"),
        ({"kind": "amulet", "guidance_scale": float("nan")}, "guidance_scale=nan"),
        ({"kind": "linear_alignment", "guidance_scale": 2.0}, "for the kind amulet"),
        (
            {"kind": "amulet", "guidance_scale": 2.0, "params": AmuletParams(iterations=3)},
            "instead of params",
        ),
    ],
)
def test_invalid_fields_of_a_method_are_refused(fields, message):
    with pytest.raises(EvaluationError, match=message):
        Method(name="own", **fields)


def test_weights_are_those_of_the_decoding():
    found = {method.name: context_weights(method) for method in read_methods(DEFAULT_METHODS)}
    assert found == {
        "base": (1.0, 0.0),
        "pref": (0.0, 1.0),
        "beam_search": (0.0, 1.0),
        "linear_alignment": linear_alignment_weights(2.0),
        "amulet": (1 - PRESETS["default"].guidance_scale, PRESETS["default"].guidance_scale),
    }


def test_ratios_and_beams_can_be_set():
    aligned, beams = read_methods(["linear_alignment@1.5", "beam_search@4"])
    assert context_weights(aligned) == (-1.5, 2.5)
    assert beams.num_beams == 4
    assert guidance_scale(beams) is None


def test_strengths_are_named_once():
    assert strengths([1, 10, 1]) == ("amulet@1", "amulet@10")


def test_a_method_object_is_returned_as_it_is():
    own = Method(name="weak", kind="amulet", params=AmuletParams(iterations=0))
    assert read_methods(["base", own])[1] is own


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "no method"),
        (["amulett"], "Did you mean 'amulet'"),
        (["pref", "pref"], "given twice"),
        (["base@3"], "takes no number"),
        (["amulet@x"], "whole number of iterations"),
        (["amulet@p=inf"], "guidance scale"),
        (["amulet@2,kl=-1"], "a bound in nats, 0 or more, such as amulet,kl=0.2"),
        (["amulet@2,kl=nan"], "a bound in nats"),
        (["amulet@2,0.2"], "a bound in nats"),
        (["pref,kl=0.2"], "takes no bound, for pref has no guidance"),
        (["beam_search@4,kl=0.2"], "leave out 'kl=0.2'"),
        (["amulet@-1"], "whole number of iterations"),
        (["beam_search@0"], "whole number of beams"),
        (["linear_alignment@"], "a ratio"),
    ],
)
def test_invalid_names_of_methods_are_refused(methods, message):
    with pytest.raises(EvaluationError, match=message):
        read_methods(methods)


def test_too_large_guidance_scales_are_refused():
    with pytest.raises(GuidanceScaleError, match="linear_alignment@30"):
        read_methods(["linear_alignment@30"])
    with pytest.raises(GuidanceScaleError, match="amulet@p=21"):
        read_methods(["amulet@p=21,kl=0.1"])


def test_one_beam_is_greedy(tiny_engine):
    sampling = SamplingParams(max_new_tokens=12)
    greedy = tiny_engine.generate([GenerationRequest(contexts=[PROMPT], sampling=sampling)])[0]
    found = beam_search(tiny_engine, PROMPT, num_beams=1, max_new_tokens=12)
    assert (found.token_ids, found.text) == (greedy.token_ids, greedy.text)
    assert (found.finish_reason, found.usage) == (greedy.finish_reason, greedy.usage)


FAMILIES = ["llama", "qwen3", "phi", "gpt_neox", "gpt2", "opt", "bloom", "mpt"]


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        *((family, {}) for family in FAMILIES),
        ("gemma2", {"sliding_window": 16}),
        ("mistral", {"sliding_window": 16}),
    ],
)
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT[:1], PROMPT * 8])
def test_more_beams_find_what_transformers_finds(model_type, sizes, prompt):
    """The model of an engine gives what a copy of it outside of an engine gives."""
    from amulet_integrations.engine import LocalEngine

    ids = torch.tensor([prompt])
    expected = tiny_model(model_type, **sizes).generate(
        ids, attention_mask=torch.ones_like(ids), num_beams=5, max_new_tokens=24
    )
    model = tiny_model(model_type, **sizes)
    with LocalEngine(model, tiny_tokenizer(), model_name="searched") as engine:
        found = beam_search(engine, prompt, num_beams=5, max_new_tokens=24)
    assert found.token_ids == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "options",
    [{"no_repeat_ngram_size": 1}, {"suppress_tokens": list(range(2, 60))}],
)
def test_a_checkpoints_own_generation_config_changes_nothing(options):
    from amulet_integrations.engine import LocalEngine

    def found(**own):
        model = tiny_model()
        model.generation_config.update(**own)
        with LocalEngine(model, tiny_tokenizer(), model_name="own") as engine:
            tokens = beam_search(engine, PROMPT, num_beams=4, max_new_tokens=30).token_ids
        assert all(getattr(model.generation_config, name) == value for name, value in own.items())
        return tokens

    assert found(**options) == found()


def test_the_beam_is_at_least_as_likely_as_greedy(tiny_engine):
    def likelihood(ids):
        return tiny_engine.score([PROMPT], ids).sum().item()

    greedy, beam = (
        beam_search(tiny_engine, PROMPT, num_beams=beams, max_new_tokens=6) for beams in (1, 16)
    )
    assert likelihood(beam.token_ids) > likelihood(greedy.token_ids)


def test_a_text_that_ends_has_one_end(tiny_engine):
    """Nothing is likelier than to end at once where the end is all that may follow."""
    with tiny_engine_that_ends() as engine:
        found = beam_search(engine, PROMPT, num_beams=3, max_new_tokens=8)
    assert found.finish_reason == "stop"
    assert found.token_ids == [1]
    assert found.text == ""


def tiny_engine_that_ends():
    from amulet_integrations.engine import LocalEngine

    model = tiny_model("gpt2")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[1] = 50.0
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
    return LocalEngine(model, tiny_tokenizer(), model_name="ends")


def test_a_stop_string_ends_it(tiny_engine):
    whole = beam_search(tiny_engine, PROMPT, num_beams=1, max_new_tokens=12)
    stop = whole.text[3:5]
    found = beam_search(tiny_engine, PROMPT, num_beams=1, max_new_tokens=12, stop=[stop])
    assert found.text == whole.text[: whole.text.index(stop)]
    assert found.finish_reason == "stop"


def test_a_prompt_that_is_too_long_is_refused(tiny_engine):
    with pytest.raises(ContextLengthError, match=str(CONTEXT_WINDOW)):
        beam_search(tiny_engine, PROMPT * 100)


def test_a_closed_engine():
    engine = tiny_engine()
    engine.close()
    with pytest.raises(EngineClosedError):
        beam_search(engine, PROMPT)
