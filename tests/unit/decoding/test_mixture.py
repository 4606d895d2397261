"""Weights of contexts, and the mixture they make of a batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations import AmuletParams
from amulet_integrations.decoding import (
    amulet_policy,
    amulet_weights,
    linear_alignment_weights,
    method_guidance_scale,
    mix_contexts,
    mixing_matrix,
    preference_weights,
)
from amulet_integrations.decoding.guidance import ContextWeights
from amulet_integrations.errors import InvalidParamsError

INF = float("inf")


def test_weights_of_the_methods():
    scale = AmuletParams().guidance_scale
    assert amulet_weights(AmuletParams()) == (1 - scale, scale)
    assert linear_alignment_weights(2.0) == (-2.0, 3.0)
    assert linear_alignment_weights() == (-2.0, 3.0)
    with pytest.raises(InvalidParamsError, match="ratio"):
        linear_alignment_weights(float("nan"))


@pytest.mark.parametrize(
    ("scale", "weights", "expected"),
    [
        (5.0, [1.0], (-4.0, 5.0)),
        (5.0, [0.5], (-1.5, 2.5)),
        (5.0, [-0.5], (3.5, -2.5)),
        (5.0, [1.0, 1.0], (-4.0, 2.5, 2.5)),
        (5.0, [1.0, -1.0], (1.0, 2.5, -2.5)),
        (0.0, [1.0], (1.0, 0.0)),
        (1.0, [1.0], (0.0, 1.0)),
        (5.0, [], (1.0,)),
    ],
)
def test_several_preferences_share_the_strength_of_one(scale, weights, expected):
    assert preference_weights(scale, weights) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "scale"), [("base", 0.0), ("pref", 1.0), ("linear_alignment", 3.0)]
)
def test_every_method_is_a_guidance_scale(method, scale):
    assert method_guidance_scale(method, AmuletParams()) == scale
    assert method_guidance_scale("amulet", AmuletParams()) == AmuletParams().guidance_scale
    assert method_guidance_scale("linear_alignment", AmuletParams(), 0.5) == 1.5


@given(st.floats(-20, 20), st.lists(st.floats(-1, 1), max_size=6))
def test_weights_of_a_mixture_add_up_to_one(scale, weights):
    assert math.fsum(preference_weights(scale, weights)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("scale", "weight", "named"),
    [
        (2.0, 1.5, "weight=1.5"),
        (2.0, -1.5, "weight=-1.5"),
        (2.0, float("nan"), "weight=nan"),
        (INF, 1.0, "scale=inf"),
    ],
)
def test_weights_out_of_range_are_refused_by_name(scale, weight, named):
    with pytest.raises(InvalidParamsError, match=named):
        preference_weights(scale, [weight])


@pytest.mark.parametrize("weights", [[], [1.0], [0.5, -0.25]])
def test_the_parts_of_an_answer_are_written_at_base_pref_and_the_calls_scale(weights):
    at = ContextWeights.at_scale(3.0, weights)
    assert at.base == (1.0, *[0.0] * len(weights))
    assert at.pref == pytest.approx((1.0 - sum(weights), *weights))
    assert at.guided == pytest.approx((1.0 - 3.0 * sum(weights), *[3.0 * it for it in weights]))


def slow_mixture(logits, weights):
    """One entry of the vocabulary after the other, in Python floats."""
    mixed = []
    for column in logits.double().t().tolist():
        if any(value == -INF for value in column):
            mixed.append(-INF)
        else:
            mixed.append(math.fsum(w * v for w, v in zip(weights, column, strict=True)))
    return torch.tensor(mixed, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    seed=st.integers(0, 10_000),
    exclude=st.booleans(),
)
def test_a_batch_is_mixed_as_each_request_alone(counts, seed, exclude):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(sum(counts), 23, generator=generator) * 5
    if exclude:
        logits[torch.rand(logits.shape, generator=generator) < 0.1] = -INF
    weights = [torch.randn(count, generator=generator).tolist() for count in counts]
    mixed = mix_contexts(logits, mixing_matrix(weights))
    assert mixed.shape == (len(counts), 23)
    assert mixed.dtype == torch.float32
    row = 0
    for request, count in enumerate(counts):
        expected = slow_mixture(logits[row : row + count], weights[request])
        torch.testing.assert_close(mixed[request].double(), expected, rtol=1e-4, atol=1e-4)
        row += count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_any_dtype_are_mixed_in_float32(dtype):
    logits = (torch.randn(2, 23, generator=torch.Generator().manual_seed(3)) * 5).to(dtype)
    logits[0, 4] = -INF
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # as while a model is loaded
    try:
        matrix = mixing_matrix([[-1.97, 2.97]])
    finally:
        torch.set_default_dtype(default)
    mixed = mix_contexts(logits, matrix)
    assert mixed.dtype == torch.float32
    expected = slow_mixture(logits, [-1.97, 2.97])
    torch.testing.assert_close(mixed[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_mixture_of_two_is_amulets_policy():
    logits = torch.randn(2, 99, generator=torch.Generator().manual_seed(5)) * 4
    params = AmuletParams(iterations=10)
    mixed = mix_contexts(logits, mixing_matrix([amulet_weights(params)]))
    expected = amulet_policy(logits[0], logits[1], params)
    torch.testing.assert_close(mixed[0].log_softmax(-1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("poison", [float("nan"), INF])
def test_one_requests_broken_logits_are_its_own(poison):
    logits = torch.zeros(4, 8)
    logits[1, 3] = poison
    mixed = mix_contexts(logits, mixing_matrix([[0.5, 0.5], [-1.0, 2.0]]))
    assert mixed[0].isnan().all()
    assert (mixed[1] == 0).all()
