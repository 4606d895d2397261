"""The bound on the divergence from the pref policy, against bisection over every token."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from amulet_integrations import AmuletParams
from amulet_integrations.decoding import (
    DivergenceBounds,
    amulet_policy,
    mix_bounded_contexts,
    mix_contexts,
    mixing_matrix,
    preference_weights,
)
from amulet_integrations.errors import InvalidParamsError

INF = float("inf")
NEAR = 1e-3
MOST_EVALUATIONS = 3


def between(logits, weights, reference, fraction):
    """Log-probabilities of the policy at a fraction of the way, float64, shape (vocab,)."""
    logits = logits.double()
    first, last = (torch.tensor(row, dtype=torch.float64) for row in (reference, weights))
    excluded = logits.isneginf().any(dim=0)
    mixed = (first + fraction * (last - first)) @ logits.masked_fill(logits.isneginf(), 0.0)
    return mixed.masked_fill(excluded, -INF).log_softmax(-1)


def divergence(policy, reference):
    """KL(policy || reference) of log-probabilities, in nats."""
    terms = policy.exp() * (policy - reference)
    return float(terms[~policy.isneginf()].sum())


def largest_fraction(logits, weights, reference, bound):
    """The oracle: a plain bisection."""
    at_one = between(logits, weights, reference, 0.0)

    def within(fraction):
        return divergence(between(logits, weights, reference, fraction), at_one) <= bound

    if within(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) else (low, middle)
    return low


class Request:
    """One request of a random batch: its contexts' logits, weights, reference and bound."""

    def __init__(self, generator, scale, bound, preferences, *, vocab=97, spread=4.0, gap=2.0):
        base = torch.randn(vocab, generator=generator) * spread
        moved = torch.randn(preferences, vocab, generator=generator) * gap
        self.logits = torch.cat([base[None], base + moved])
        own = (torch.rand(preferences, generator=generator) * 2 - 1).tolist()
        own = [1.0] if preferences == 1 else own
        self.weights = preference_weights(scale, own)
        self.reference = preference_weights(1.0, own)
        self.bound = bound

    def check(self, row, fraction):
        """Compares a policy and its fraction with the oracle's."""
        run = torch.tensor(self.weights) != 0
        if self.bound is not None:
            run |= torch.tensor(self.reference) != 0
        logits = self.logits.masked_fill(~run[:, None], 0.0)
        expected, at_one = 1.0, between(logits, self.weights, self.reference, 0.0)
        if self.bound is not None:
            expected = largest_fraction(logits, self.weights, self.reference, self.bound)
        policy = row.double().log_softmax(-1)
        if expected < 1.0 and self.bound:
            assert abs(divergence(policy, at_one) - self.bound) <= NEAR
        found = between(logits, self.weights, self.reference, fraction)
        exact = between(logits, self.weights, self.reference, expected)
        assert (policy.exp() - found.exp()).abs().max() < NEAR
        assert (policy.exp() - exact.exp()).abs().max() < 10 * NEAR
        assert policy.isneginf().equal(found.isneginf())


def mix(requests):
    matrix = mixing_matrix([request.weights for request in requests])
    bounds = DivergenceBounds([r.reference for r in requests], [r.bound for r in requests])
    logits = torch.cat([request.logits for request in requests])
    return mix_bounded_contexts(logits, matrix, bounds), mix_contexts(logits, matrix)


wanted = st.tuples(
    st.floats(-3, 20), st.none() | st.just(0.0) | st.floats(0.02, 2.0), st.integers(1, 3)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(wanted, min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.booleans())
def test_random_batches_are_bounded_as_the_oracle_bounds_them(wanted, seed, exclude):
    generator = torch.Generator().manual_seed(seed)
    requests = [Request(generator, *each) for each in wanted]
    if exclude:
        for request in requests:
            request.logits[torch.rand(request.logits.shape, generator=generator) < 0.1] = -INF
    (logits, matrix, fractions), unbounded = mix(requests)
    column = 0
    for index, request in enumerate(requests):
        request.check(logits[index], float(fractions[index]))
        if request.bound is None:
            assert logits[index].equal(unbounded[index])
        used = slice(column, column + len(request.weights))
        first, last = map(torch.tensor, (request.reference, request.weights))
        torch.testing.assert_close(
            matrix[index, used], first + float(fractions[index]) * (last - first)
        )
        column = used.stop


@pytest.mark.parametrize("scale", [-3.0, 1.5, 5.65, 20.0])
@pytest.mark.parametrize(("spread", "gap"), [(0.1, 0.01), (20.0, 60.0), (1.0, 300.0)])
def test_advantages_from_nothing_to_hundreds_of_nats(scale, spread, gap):
    generator = torch.Generator().manual_seed(1)
    shape = {"vocab": 3000, "spread": spread, "gap": gap}
    requests = [
        Request(generator, scale, bound, 1, **shape) for bound in (0.02, 0.2, 3.0) for _ in range(3)
    ]
    (logits, _, fractions), _ = mix(requests)
    for request, row, fraction in zip(requests, logits, fractions.tolist(), strict=True):
        request.check(row, fraction)


def test_a_larger_bound_goes_further():
    bounds = [0.0, 0.01, 0.02, 0.1, 0.3, 1.0, 5.0, 1e6]
    requests = [Request(torch.Generator().manual_seed(2), 8.0, bound, 1) for bound in bounds]
    (logits, _, fractions), unbounded = mix(requests)
    assert fractions.tolist() == sorted(fractions.tolist())
    assert len(set(fractions.tolist())) == len(bounds)
    assert logits[0].equal(requests[0].logits[1])
    assert fractions[-1] == 1.0
    assert logits[-1].equal(unbounded[-1])


def test_a_batch_of_any_size_is_bounded_request_by_request():
    generator = torch.Generator().manual_seed(8)
    bounds = [None if index % 6 == 5 else 0.05 * (1 + index % 3) for index in range(45)]
    requests = [Request(generator, 6.0, bound, 1, vocab=40) for bound in bounds]
    (logits, _, fractions), _ = mix(requests)
    for request, row, fraction in zip(requests, logits, fractions.tolist(), strict=True):
        request.check(row, fraction)
        expected = 1.0
        if request.bound is not None:
            rows = (request.logits, request.weights, request.reference)
            expected = largest_fraction(*rows, request.bound)
        assert fraction == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("bound", [1e-3, 1e-2, 0.1, 1.0])
def test_a_small_bound_is_kept_to_a_hundredth(bound):
    generator = torch.Generator().manual_seed(9)
    requests = [Request(generator, 6.0, bound, 1, vocab=1000) for _ in range(8)]
    (logits, _, _), _ = mix(requests)
    for request, row in zip(requests, logits, strict=True):
        at_one = between(request.logits, request.weights, request.reference, 0.0)
        found = divergence(row.double().log_softmax(-1), at_one)
        assert found == pytest.approx(bound, rel=0.01)


class Operations(TorchDispatchMode):
    """Counts the exponentials of whole rows."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket._qualified_op_name == "aten::exp_"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scale", [-2.0, 2.0, 5.65, 20.0])
@pytest.mark.parametrize("bound", [0.01, 0.1, 1.0])
def test_a_few_evaluations_over_the_vocabulary_are_enough(scale, bound):
    requests = [
        Request(torch.Generator().manual_seed(seed), scale, bound, 1, vocab=3000, gap=1.0)
        for seed in range(6)
    ]
    for request in requests:
        with Operations() as operations:
            mix([request])
        assert 1 <= operations.count <= MOST_EVALUATIONS


def test_a_bound_near_the_divergence_of_the_whole_way_goes_no_further():
    generator = torch.Generator().manual_seed(10)
    requests = [Request(generator, 2.0, 0.0, 1, vocab=2, spread=6, gap=30) for _ in range(120)]
    for request in requests:
        ends = [
            between(request.logits, request.weights, request.reference, at) for at in (1.0, 0.0)
        ]
        share = 1.0 - 0.002 * float(torch.rand((), generator=generator))
        request.bound = max(0.0, share * divergence(*ends))
    (logits, _, fractions), _ = mix(requests)
    assert fractions.max() <= 1.0
    for request, row, fraction in zip(requests, logits, fractions.tolist(), strict=True):
        request.check(row, fraction)


def test_where_it_does_not_bind_it_changes_no_bit():
    generator = torch.Generator().manual_seed(3)
    requests = [Request(generator, scale, 0.5, 2, gap=0.1) for scale in (-0.5, 0.5, 1.0, 2.0)]
    (logits, matrix, fractions), unbounded = mix(requests)
    assert fractions.tolist() == [1.0] * 4
    assert logits.equal(unbounded)
    assert matrix.equal(mixing_matrix([request.weights for request in requests]))


def test_without_bounds_it_is_mix_contexts():
    generator = torch.Generator().manual_seed(4)
    requests = [Request(generator, scale, None, 2) for scale in (-3.0, 0.5, 20.0)]
    (logits, _, fractions), unbounded = mix(requests)
    assert logits.equal(unbounded)
    assert fractions.tolist() == [1.0] * 3
    assert not DivergenceBounds([(0.0, 1.0)], [None])
    assert DivergenceBounds([(0.0, 1.0)] * 2, [None, 0.0])


@pytest.mark.parametrize("poison", [float("nan"), INF])
@pytest.mark.parametrize("context", [0, 1])
def test_a_broken_row_harms_nobody(poison, context):
    generator = torch.Generator().manual_seed(5)
    requests = [Request(generator, 5.0, 0.2, 1) for _ in range(3)]
    (whole, _, _), _ = mix(requests)
    requests[1].logits[context, 7] = poison
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (logits, _, fractions), _ = mix(requests)
    assert logits[1].isnan().all()
    assert fractions[1] == 1.0
    assert logits[0].equal(whole[0])
    assert logits[2].equal(whole[2])


def test_a_request_without_a_token_left_has_none():
    logits = torch.tensor([[0.0, -INF, -INF], [-INF, 0.0, -INF]])
    bounds = DivergenceBounds([(0.0, 1.0)], [0.1])
    mixed = mix_bounded_contexts(logits, mixing_matrix([(-1.0, 2.0)]), bounds).logits
    assert mixed.isneginf().all()


def test_company_changes_nothing():
    generator = torch.Generator().manual_seed(6)
    requests = [
        Request(generator, scale, bound, count)
        for scale, bound, count in [(5.0, 0.2, 1), (-2.0, 0.1, 2), (9.0, None, 3), (1.5, 0.02, 1)]
    ]
    (together, _, fractions), _ = mix(requests)
    for index, request in enumerate(requests):
        (alone, _, fraction), _ = mix([request])
        torch.testing.assert_close(together[index], alone[0], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(fractions[index], fraction[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_amulets_policy_takes_a_bound_over_any_shape(dtype):
    generator = torch.Generator().manual_seed(7)
    base, pref = (torch.randn(2, 3, 50, generator=generator).to(dtype) for _ in range(2))
    base[0, 0, 3] = pref[1, 2, 4] = -INF
    params = AmuletParams()
    free = amulet_policy(base, pref, params)
    bounded = amulet_policy(base, pref, params, max_kl=0.3)
    assert bounded.dtype == free.dtype
    scale = params.guidance_scale
    for index in range(6):
        rows = torch.stack([base.view(6, -1)[index], pref.view(6, -1)[index]])
        fraction = largest_fraction(rows, (1 - scale, scale), (0.0, 1.0), 0.3)
        assert fraction < 1.0
        exact = between(rows, (1 - scale, scale), (0.0, 1.0), fraction)
        assert (bounded.view(6, -1)[index].double().exp() - exact.exp()).abs().max() < NEAR
    assert amulet_policy(base, pref, params, max_kl=1e6).equal(free)
    single = amulet_policy(base[1, 1], pref[1, 1], params, 0.3)
    torch.testing.assert_close(single, bounded[1, 1])
    many = amulet_policy(base.repeat(6, 1, 1), pref.repeat(6, 1, 1), params, 0.3)
    torch.testing.assert_close(many, bounded.repeat(6, 1, 1))


def test_the_base_policy_is_not_bounded():
    params = AmuletParams.from_guidance_scale(0.0)
    base, pref = torch.randn(2, 50, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(amulet_policy(base, pref, params, 0.01), base.log_softmax(-1))


@pytest.mark.parametrize("bound", [-0.1, float("nan"), INF, "0.2", True])
def test_what_is_no_bound_is_refused(bound):
    with pytest.raises(InvalidParamsError, match=rf"^max_kl={bound!r}: .*None for no bound"):
        amulet_policy(torch.zeros(3), torch.zeros(3), AmuletParams(), bound)


def test_a_plateau_of_the_divergence_hides_no_cliff():
    """Near the bound the divergence hardly rises, and far beyond it there is a third token."""
    pref = torch.tensor([math.log(1 - 0.90563), math.log(0.90563), -25.0])
    logits = torch.stack([pref - torch.tensor([-10.0, 0.0, 12.0]), pref])
    bounds = DivergenceBounds([(0.0, 1.0)], [0.1])
    mixture = mix_bounded_contexts(logits, mixing_matrix([(-2.0, 3.0)]), bounds)
    policy, reference = mixture.logits[0].double().log_softmax(-1), pref.double().log_softmax(-1)
    assert float((policy.exp() * (policy - reference)).sum()) == pytest.approx(0.1, abs=1e-3)
