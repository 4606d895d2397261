"""Numbers at the ends of a float's and an int's range: refused when given, or harmless."""

from __future__ import annotations

import pytest

from amulet_integrations import AmuletParams
from amulet_integrations.decoding.guidance import check_guidance_scale
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.errors import (
    AmuletError,
    GenerationError,
    InvalidRequestError,
    RequestTimeoutError,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM

EXTREMES = [5e-324, 1e-6, 1e38, 1.79e308, 10**400]
ASK = {ChatAmulet: ChatAmulet.invoke, AmuletLLM: AmuletLLM.complete}
SETTINGS = ["max_guidance_scale", "linear_alignment_ratio", "profiles_ttl"]
ARGUMENTS = [
    *("temperature", "top_p", "min_p", "top_k", "repetition_penalty", "max_tokens", "seed"),
    *("timeout", "guidance_scale", "max_kl", "alpha", "lambda_", "eta", "iterations"),
]


def given(name, value):
    return {"params": {name: value}} if name in AmuletParams.model_fields else {name: value}


def failure(ask):
    """Asks; the error of the decoding, if there was one."""
    try:
        ask()
    except RequestTimeoutError:
        return None
    except GenerationError as error:
        return error
    except AmuletError:
        return None  # about the value
    return None


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("value", EXTREMES, ids=["least", "tiny", "float32", "most", "int"])
@pytest.mark.parametrize("wrapper", ASK)
def test_no_value_fails_while_decoding(tiny_engine, wrapper, value):
    usual = {"engine": tiny_engine, "preference": "Be brief.", "max_tokens": 2}
    unbounded = {**usual, "max_kl": None, "max_guidance_scale": 1e6, "temperature": 0.7}
    for llm in (wrapper(**usual), wrapper(**unbounded)):
        for name in ARGUMENTS:
            assert not failure(lambda: ASK[wrapper](llm, "Hi", **given(name, value)))  # noqa: B023
    for name in SETTINGS:
        more = {"guidance_scale": value} if name == "max_guidance_scale" else {}
        more |= {"method": "linear_alignment"} if name == "linear_alignment_ratio" else {}
        settings = {**usual, name: value, **more}
        assert not failure(lambda: ASK[wrapper](wrapper(**settings), "Hi"))  # noqa: B023


@pytest.mark.parametrize("value", [101.0, 1e308, float("inf"), float("nan")])
def test_a_temperature_past_its_range_is_refused_with_the_range(tiny_engine, value):
    with pytest.raises(AmuletError, match=r"temperature=.*(100|finite|nan)"):
        ChatAmulet(engine=tiny_engine, temperature=value)


@pytest.mark.parametrize("temperature", [5e-324, 1e-38, 9e-6])
def test_a_tiny_temperature_is_greedy(tiny_engine, temperature):
    llm = ChatAmulet(engine=tiny_engine, max_tokens=8)
    assert llm.invoke("Hi", temperature=temperature).content == llm.invoke("Hi").content


@pytest.mark.parametrize("weights", [(-1e38, 1e38 + 1), (1e8, 1 - 1e8), (float("nan"), 1.0)])
def test_weights_that_no_logits_survive_are_refused(weights):
    with pytest.raises(InvalidRequestError, match="weight"):
        GenerationRequest(contexts=[[1], [2]], weights=list(weights))


def test_the_bound_on_guidance_scales_has_a_bound():
    assert check_guidance_scale(143_055, 1e6) == 143_055
    with pytest.raises(AmuletError, match="max_guidance_scale"):
        check_guidance_scale(2e6, 1e300)
