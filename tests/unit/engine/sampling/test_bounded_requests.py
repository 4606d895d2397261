"""Requests with a bound on the divergence from the pref policy, against a slow obvious decode."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import InvalidRequestError
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model, tiny_tokenizer

BASE, PREF, OTHER = (5, 6, 7), (8, 9, 300, 5, 6, 7), (40, 5, 6)
STRONG = (-4.0, 5.0)
TOKENS = 12
BOUND = 0.2


def make_request(max_kl=BOUND, contexts=(BASE, PREF), weights=STRONG, tokens=TOKENS, **changes):
    sampling = {"max_new_tokens": tokens, "min_new_tokens": tokens} | changes.pop("sampling", {})
    return GenerationRequest(
        contexts=contexts,
        weights=weights,
        max_kl=max_kl,
        sampling=SamplingParams(**sampling),
        **changes,
    )


def bounded_step(rows, weights, reference, max_kl):
    """The bounded policy's log-probabilities and its fraction, by bisection in float64."""
    first, last = (torch.tensor(each, dtype=torch.float64) for each in (reference, weights))

    def policy(fraction):
        return ((first + fraction * (last - first)) @ rows).log_softmax(-1)

    def divergence(fraction):
        here = policy(fraction)
        return float((here.exp() * (here - policy(0.0))).sum())

    if divergence(1.0) <= max_kl:
        return policy(1.0), 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) <= max_kl else (low, middle)
    return policy(low), low


def slow_bounded(model, request, reference=(0.0, 1.0), end_id=1):
    """Greedy tokens and fractions: no cache, no batch, the end of the text excluded."""
    tokens, fractions = [], []
    while len(tokens) < request.sampling.max_new_tokens:
        with torch.no_grad():
            rows = [
                model(torch.tensor([[*ids, *tokens]])).logits[0, -1].double().log_softmax(-1)
                for ids in request.contexts
            ]
        step = bounded_step(torch.stack(rows), request.weights, reference, request.max_kl)
        step[0][end_id] = -torch.inf
        tokens.append(int(step[0].argmax()))
        fractions.append(step[1])
    return tokens, fractions


def same(result, expected):
    tokens, fractions = expected
    assert result.token_ids == tokens
    assert result.guidance_fractions == pytest.approx(fractions, abs=5e-3)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def engine(model):
    with LocalEngine(model, tiny_tokenizer()) as engine:
        yield engine


def test_greedy_tokens_are_those_of_the_slow_decode(engine, model):
    requests = [make_request(bound) for bound in (0.0, 0.05, 0.3, 2.0)]
    requests += [make_request(weights=(2.0, -1.0)), make_request(weights=(-0.3, 1.3))]
    expected = [slow_bounded(model, request) for request in requests]
    for request, each in zip(requests, expected, strict=True):  # alone
        same(engine.generate([request])[0], each)
    beside = [make_request(None), make_request(None, (BASE,), (1.0,))]
    results = engine.generate([beside[0], *requests, beside[1]])  # in company
    for result, each in zip(results[1:-1], expected, strict=True):
        same(result, each)
    assert [each.token_ids for each in (results[0], results[-1])] == [
        engine.generate([each])[0].token_ids for each in beside
    ]
    held = [fraction for _, fractions in expected for fraction in fractions]
    assert 0 < sum(fraction < 1 for fraction in held) < len(held)


@pytest.mark.parametrize("drafts", [0, 8])
def test_drafts_change_no_token(model, drafts):
    repeated = ((BASE * 4), (*PREF, *BASE * 4))
    request = make_request(contexts=repeated, tokens=24)
    with LocalEngine(model, tiny_tokenizer(), prompt_lookup_num_tokens=drafts) as engine:
        same(engine.generate([request])[0], slow_bounded(model, request))


def test_several_preferences_are_bounded_from_their_mixture(engine, model):
    contexts, reference = (BASE, PREF, OTHER), (0.0, 1.5, -0.5)
    request = make_request(
        contexts=contexts, weights=(0.0, 7.5, -6.5), reference_weights=reference, max_kl=0.3
    )
    (result,) = engine.generate([request])
    same(result, slow_bounded(model, request, reference))
    assert min(result.guidance_fractions) < 1


def test_no_bound_leaves_tokens_as_they_were(engine, model):
    (result,) = engine.generate([make_request(None, tokens=10, sampling={"min_new_tokens": 0})])
    assert result.token_ids == slow_greedy(model, [BASE, PREF], STRONG, 10)
    assert result.guidance_fractions == []
    (loose,) = engine.generate([make_request(1e6)])
    (free,) = engine.generate([make_request(None)])
    assert loose.token_ids == free.token_ids
    assert set(loose.guidance_fractions) == {1.0}


def test_a_seed_repeats_what_is_sampled_from_the_bounded_policy(engine):
    sampling = {"temperature": 1.0, "seed": 3}
    request = make_request(tokens=30, sampling=sampling)
    first, beside = engine.generate([request, make_request()])
    (again,) = engine.generate([request])
    same(first, (again.token_ids, again.guidance_fractions))
    (free,) = engine.generate([make_request(None, tokens=30, sampling=sampling)])
    assert first.token_ids != free.token_ids
    assert len(first.guidance_fractions) == 30
    assert len(beside.guidance_fractions) == TOKENS


def test_every_increment_has_the_fraction_of_its_token(engine):
    request = make_request(logprobs=2)
    steps = list(engine.stream(request))
    (whole,) = engine.generate([request])
    assert all(len(step.guidance_fractions) == len(step.token_ids) for step in steps)
    fractions = [fraction for step in steps for fraction in step.guidance_fractions]
    assert fractions == whole.guidance_fractions


def test_log_probabilities_are_the_bounded_policys(engine, model):
    (result,) = engine.generate([make_request(tokens=3, logprobs=0)])
    for at, token in enumerate(result.token_ids):
        before = result.token_ids[:at]
        with torch.no_grad():
            rows = [
                model(torch.tensor([[*ids, *before]])).logits[0, -1].double().log_softmax(-1)
                for ids in (BASE, PREF)
            ]
        policy, _ = bounded_step(torch.stack(rows), STRONG, (0.0, 1.0), BOUND)
        assert result.logprobs[at].logprob == pytest.approx(float(policy[token]), abs=5e-3)


def test_forms_are_bounded_where_a_preference_acts(engine):
    grammar = 'start: "a" /[a-z]{8}/'
    limits = {"tokens": 40, "sampling": {"min_new_tokens": 0}}
    steered = make_request(alternatives=[OutputAlternative(grammar=grammar)], **limits)
    plain = make_request(
        alternatives=[OutputAlternative(grammar=grammar, weights=(1.0, 0.0))], **limits
    )
    unbounded = plain.model_copy(update={"max_kl": None})
    held, base, free = engine.generate([steered, plain, unbounded])
    assert len(held.guidance_fractions) == len(held.token_ids)
    assert min(held.guidance_fractions) < 1
    # What the base context alone writes applies no preference.
    assert base.token_ids == free.token_ids
    assert base.guidance_fractions == []


def test_a_form_that_is_chosen_brings_its_own_weights_to_the_bound(engine):
    call, prose = "start: /[a-m][a-z]{6}/", "start: /[n-z][a-z]{6}/"
    alternatives = [
        OutputAlternative(grammar=call, weights=(1.0, 0.0)),
        OutputAlternative(grammar=prose),
    ]
    requests = [
        make_request(
            max_kl=0.05,
            alternatives=alternatives,
            tokens=40,
            sampling={"min_new_tokens": 0, "temperature": 1.0, "seed": seed},
        )
        for seed in range(24)
    ]
    calls = proses = 0
    for result in engine.generate(requests):
        fractions = result.guidance_fractions
        assert len(fractions) == len(result.token_ids)
        if result.text < "n":
            calls += 1
            assert set(fractions) == {None}  # also the first token, drawn once more
        else:
            proses += 1
            assert min(fractions) < 1
    assert calls
    assert proses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kl": -0.1}, "max_kl"),
        ({"max_kl": float("nan")}, "max_kl"),
        ({"max_kl": float("inf")}, "max_kl"),
        ({"weights": None, "policy": len}, "bound the policy yourself"),
        ({"contexts": (BASE, PREF, OTHER), "weights": (-1, 1, 1)}, "pass reference_weights"),
        ({"max_kl": None, "reference_weights": (0, 1)}, "without max_kl"),
        ({"reference_weights": (0, 0.5, 0.5)}, "3 reference_weights for 2 contexts"),
        ({"reference_weights": (0.5, 0.6)}, "add up to"),
    ],
)
def test_what_cannot_be_bounded_is_refused(changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        make_request(**changes)
