"""The closed form, the game, and what the published code computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from amulet_integrations import AmuletParams
from amulet_integrations.decoding import amulet_policy, ftrl_policy
from amulet_integrations.errors import GuidanceScaleError, InvalidRequestError
from tests.support.golden import golden, needs_golden

INF = float("inf")


def plain_game(base: Tensor, pref: Tensor, params: AmuletParams) -> Tensor:
    """The update of the paper, written down as it stands there."""
    log_base, log_pref = base.log_softmax(-1), pref.log_softmax(-1)
    log_pi, utilities = log_pref, torch.zeros_like(log_pref)
    for t in range(1, params.iterations + 1):
        utilities = utilities + params.alpha * (log_pi - log_base)
        pull = params.lambda_ * params.eta * t
        log_pi = (params.eta * utilities + pull * log_pref + log_pi) / (pull + 1)
        log_pi = log_pi.log_softmax(-1)
    return log_pi


@needs_golden
@pytest.mark.parametrize("policy", [amulet_policy, ftrl_policy])
@pytest.mark.parametrize("vector", golden("policies.json"))
def test_the_published_code_is_reproduced(policy, vector):
    params = AmuletParams(
        alpha=vector["alpha"],
        lambda_=vector["lam"],
        eta=vector["eta"],
        iterations=vector["iterations"],
    )
    base, pref, expected = (
        torch.tensor(vector[name], dtype=torch.float64)
        for name in ("base_logits", "pref_logits", "policy_logprobs")
    )
    assert (policy(base, pref, params) - expected).abs().max() < 2e-4


games = st.builds(
    AmuletParams,
    alpha=st.floats(-1, 6),
    lambda_=st.floats(0, 6),
    eta=st.floats(0.05, 50),
    iterations=st.integers(0, 80),
)
logits = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.tuples(
        st.just(seed), st.integers(1, 300), st.floats(1e-6, 30), st.floats(1e-6, 10)
    )
)


def random_logits(seed: int, size: int, spread: float, gap: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=generator, dtype=torch.float64) * spread
    return base, base + torch.randn(size, generator=generator, dtype=torch.float64) * gap


@settings(max_examples=300, deadline=None)
@given(games, logits)
def test_closed_form_and_game_agree_up_to_a_scale_of_100_000(params, shape):
    try:
        assume(abs(params.guidance_scale) <= 1e5)
    except GuidanceScaleError:
        assume(False)
    base, pref = random_logits(*shape)
    closed = amulet_policy(base, pref, params)
    played = ftrl_policy(base, pref, params)
    assert ((closed - played).abs() <= 1e-12 * (1 + played.abs())).all()


@settings(max_examples=100, deadline=None)
@given(games, logits)
def test_both_are_the_plain_game_at_everyday_strengths(params, shape):
    try:
        assume(abs(params.guidance_scale) <= 20)
    except GuidanceScaleError:
        assume(False)
    base, pref = random_logits(*shape)
    plain = plain_game(base, pref, params)
    for policy in (amulet_policy, ftrl_policy):
        torch.testing.assert_close(policy(base, pref, params), plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("policy", [amulet_policy, ftrl_policy])
@pytest.mark.parametrize(
    "params", [AmuletParams(), AmuletParams(alpha=4, lambda_=0.5, iterations=15)]
)
def test_tokens_excluded_in_either_context_stay_excluded(policy, params):
    base = torch.tensor([[1.0, -INF, 0.5, -INF, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    pref = torch.tensor([[0.0, 1.0, -INF, -INF, 3.0], [1.0, 1.0, 1.0, 1.0, -INF]])
    result = policy(base, pref, params)
    assert not result.isnan().any()
    excluded = base.isneginf() | pref.isneginf()
    assert result[excluded].isneginf().all()
    # What is left is the game over the tokens that are left.
    for row in range(2):
        left = ~excluded[row]
        alone = policy(base[row][left], pref[row][left], params)
        torch.testing.assert_close(result[row][left], alone)


@pytest.mark.parametrize("policy", [amulet_policy, ftrl_policy])
def test_a_policy_needs_a_token_and_one_shape(policy):
    base, pref = torch.tensor([[0.0, 1.0], [-INF, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, -INF]])
    for row in (slice(0, 2), 1):
        with pytest.raises(InvalidRequestError, match="No token"):
            policy(base[row], pref[row], AmuletParams())
    with pytest.raises(InvalidRequestError, match="shape"):
        policy(torch.zeros(3), torch.zeros(4), AmuletParams())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_logits_are_worked_on_in_float32(dtype):
    base, pref = (logits.to(dtype) for logits in random_logits(1, 50, 3.0, 1.0))
    result = amulet_policy(base, pref, AmuletParams())
    assert result.dtype == torch.float32
    exact = amulet_policy(base.double(), pref.double(), AmuletParams())
    torch.testing.assert_close(result.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", [amulet_policy, ftrl_policy])
@pytest.mark.parametrize("far", [0.0, 4096.0], ids=["near 0", "far from 0"])
def test_float32_is_as_fine_as_if_the_likely_tokens_were_all(policy, far):
    """Neither a constant, nor unlikely tokens that the contexts disagree on, cost digits."""
    base, pref = (logits.float() + far for logits in random_logits(6, 50, 2.0, 0.1))
    base[-1] = pref[-1] = -INF
    base[:10] -= 50.0
    pref[:10] -= 250.0
    params = AmuletParams.from_guidance_scale(20.0)
    exact = policy(base.double(), pref.double(), params)
    likely = exact > -12.0
    assert likely.sum() > 20
    result = policy(base, pref, params).double()
    torch.testing.assert_close(result[likely], exact[likely], rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_utility_of_any_dtype_is_played_in_that_of_the_policy(dtype):
    base, pref = (logits.float() for logits in random_logits(5, 40, 2.0, 1.0))
    bonus = torch.arange(40).remainder(3).to(dtype)
    result = ftrl_policy(base, pref, AmuletParams(), lambda *_: bonus)
    assert result.dtype == torch.float32
    expected = ftrl_policy(base, pref, AmuletParams(), lambda *_: bonus.float())
    torch.testing.assert_close(result, expected)


def test_a_callers_utility_is_played():
    base, pref = random_logits(2, 40, 2.0, 1.0)
    params = AmuletParams(alpha=1.5, lambda_=1.0, eta=5.0, iterations=7)

    def as_published(log_pi_t, log_pi_1, log_pi_base, t):
        assert t >= 1
        return params.alpha * (log_pi_t - log_pi_base)

    torch.testing.assert_close(
        ftrl_policy(base, pref, params, as_published), plain_game(base, pref, params)
    )
    bonus = torch.zeros(40, dtype=torch.float64)
    bonus[7] = 1.0
    pushed = ftrl_policy(base, pref, params, lambda *_: bonus)
    still = ftrl_policy(base, pref, params, lambda *_: torch.zeros_like(bonus))
    assert pushed[7] > still[7] + 0.9
    torch.testing.assert_close(still, pref.log_softmax(-1))


def test_a_utility_is_given_normalised_policies():
    base, pref = random_logits(3, 30, 2.0, 1.0)
    seen = []

    def spy(log_pi_t, log_pi_1, log_pi_base, t):
        seen.append(t)
        for policy in (log_pi_t, log_pi_1, log_pi_base):
            assert policy.logsumexp(-1).item() == pytest.approx(0, abs=1e-12)
        return torch.zeros_like(log_pi_t)

    ftrl_policy(base, pref, AmuletParams(iterations=3), spy)
    assert seen == [1, 2, 3]


def test_a_utility_of_the_wrong_shape_is_refused():
    base, pref = random_logits(4, 30, 2.0, 1.0)
    with pytest.raises(InvalidRequestError, match="utility"):
        ftrl_policy(base, pref, AmuletParams(), lambda *_: torch.zeros(3))
