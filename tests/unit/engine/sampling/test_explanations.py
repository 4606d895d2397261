"""Explanations of tokens against a recomputation in float64, from the very logits of each step."""

from __future__ import annotations

import math

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import InvalidRequestError
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_tokenizer

BASE, PREF, OTHER = (5, 6, 7), (8, 9, 300), (40, 41)
TOKENS = 12
CLOSE = 1e-5


class SparseBackend(TableBackend):
    """Excludes tokens, other ones after each last token."""

    def logits_after(self, ids):
        logits = super().logits_after(ids)
        excluded = (torch.arange(len(logits)) + ids[-1] + 3 * len(ids)) % 7 == 0
        excluded[1] = False
        return logits.masked_fill(excluded, -torch.inf)


@pytest.fixture(scope="module", params=[TableBackend, SparseBackend])
def backend(request):
    return request.param(tiny_tokenizer())


@pytest.fixture(scope="module")
def engine(backend):
    with LocalEngine(backend) as engine:
        yield engine


def make_request(weights, contexts=(BASE, PREF), explain=4, **changes):
    sampling = {"max_new_tokens": TOKENS} | changes.pop("sampling", {})
    return GenerationRequest(
        contexts=contexts,
        weights=weights,
        sampling=SamplingParams(**sampling),
        explain=explain,
        **changes,
    )


def slow_mix(rows, weights):
    """One token of the vocabulary at a time, by Python's floats."""
    mixed = []
    for column in rows.T.tolist():
        used = [(w, value) for w, value in zip(weights, column, strict=True) if w]
        allowed = all(value > -math.inf for _, value in used)
        mixed.append(math.fsum(w * value for w, value in used) if allowed else -math.inf)
    top = max(mixed)
    norm = top + math.log(math.fsum(math.exp(value - top) for value in mixed))
    return [value - norm for value in mixed]


def slow_kl(policy, other):
    return math.fsum(
        math.exp(p) * (p - q) for p, q in zip(policy, other, strict=True) if p > -math.inf
    )


def check(backend, result, contexts, reference):
    assert len(result.explanations) == len(result.token_ids)
    for number, (token, step) in enumerate(zip(result.token_ids, result.explanations, strict=True)):
        done = result.token_ids[:number]
        logits = torch.stack([backend.logits_after([*ids, *done]) for ids in contexts]).double()
        rows = logits.log_softmax(-1)
        assert step.context_logprobs == pytest.approx(rows[:, token].tolist(), abs=CLOSE)
        base, policy = slow_mix(rows, [1.0] + [0.0] * (len(rows) - 1)), slow_mix(rows, step.weights)
        pref = slow_mix(rows, reference)
        for view, expected in ((step.base, base), (step.policy, policy), (step.pref, pref)):
            assert view.token_id == token
            assert math.exp(view.logprob) == pytest.approx(math.exp(expected[token]), abs=CLOSE)
            likeliest = sorted(range(len(expected)), key=lambda at: -expected[at])[:4]
            assert [other.token_id for other in view.top] == likeliest
            assert [other.logprob for other in view.top] == pytest.approx(
                [expected[at] for at in likeliest], abs=CLOSE
            )
        assert step.kl_from_base == pytest.approx(slow_kl(policy, base), abs=CLOSE)
        assert step.kl_from_pref == pytest.approx(slow_kl(policy, pref), abs=CLOSE)


SAMPLED = {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "seed": 4, "repetition_penalty": 1.5}
THREE = (BASE, PREF, OTHER)
CASES = {
    "base": ((1.0, 0.0), (BASE, PREF), (0.0, 1.0), {}),
    "pref": ((0.0, 1.0), (BASE, PREF), (0.0, 1.0), {}),
    "guided": ((-2.0, 3.0), (BASE, PREF), (0.0, 1.0), {}),
    "bounded": ((-4.0, 5.0), (BASE, PREF), (0.0, 1.0), {"max_kl": 0.2}),
    "sampled": ((-2.0, 3.0), (BASE, PREF), (0.0, 1.0), {"sampling": SAMPLED, "max_kl": 0.4}),
    "three": ((-2.0, 2.0, 1.0), THREE, (0.0, 0.6, 0.4), {"max_kl": 0.3}),
    "away": ((2.0, -1.0), (BASE, PREF), (2.0, -1.0), {}),
    "unused": ((-1.0, 2.0, 0.0), THREE, (0.0, 1.0, 0.0), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_the_same_logits(backend, engine, case):
    weights, contexts, reference, changes = CASES[case]
    changes = {**changes, "reference_weights": reference}
    request = make_request(weights, contexts, **changes)
    (result,) = engine.generate([request])
    check(backend, result, contexts, reference)
    if "max_kl" not in changes:
        assert {step.weights for step in result.explanations} == {weights}
        changes.pop("reference_weights")
    # Tokens are the same without, alone and in company.
    silent = make_request(weights, contexts, explain=None, **changes)
    (quiet,) = engine.generate([silent])
    assert (quiet.token_ids, quiet.explanations) == (result.token_ids, [])
    _, again, _ = engine.generate([silent, request, silent])
    assert again.explanations == result.explanations


def test_the_strength_is_the_one_that_the_bound_left(engine):
    (result,) = engine.generate([make_request((-4.0, 5.0), max_kl=0.2)])
    parts = result.guidance_fractions
    assert min(parts) < 1.0
    for part, step in zip(parts, result.explanations, strict=True):
        assert step.weights == pytest.approx((-4.0 * part, 1.0 + 4.0 * part))
        assert step.guidance_fraction == part
        # The bound is measured among the tokens that both contexts allow.
        assert step.kl_from_pref <= 0.2 + 5e-3


def test_one_context_has_nothing_beside_it(engine):
    (result,) = engine.generate([make_request((1.0,), (BASE,))])
    for step in result.explanations:
        assert step.base.logprob == pytest.approx(step.policy.logprob, abs=1e-6)
        assert step.pref is step.kl_from_pref is None
        assert step.kl_from_base == pytest.approx(0.0, abs=1e-6)
        assert step.weights == (1.0,)


def test_mixtures_that_change_within_an_answer(engine):
    call = OutputAlternative(grammar='start: "ab" /[cd]{4}/', weights=(1.0, 0.0))
    text = OutputAlternative(grammar='start: "e" /[fg]{4}/', weights=(-1.0, 2.0))
    request = make_request((1.0, 0.0), alternatives=(call, text))
    (result,) = engine.generate([request])
    used = [step.weights for step in result.explanations]
    assert used[0] == (1.0, 0.0)
    assert set(used) <= {(1.0, 0.0), (-1.0, 2.0)}
    assert used[-1] == ((1.0, 0.0) if result.text.startswith("ab") else (-1.0, 2.0))


def test_streams_carry_them_token_by_token(engine):
    request = make_request((-2.0, 3.0))
    steps = list(engine.stream(request))
    assert all(len(step.explanations) == len(step.token_ids) for step in steps)
    assert GenerationResult.fold(steps) == engine.generate([request])[0]


@pytest.mark.parametrize("explain", [-1, 21, 1.5, "5", True])
def test_numbers_of_alternatives_out_of_range_are_refused(explain):
    with pytest.raises(InvalidRequestError, match="explain"):
        make_request((1.0, 0.0), explain=explain)


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(InvalidRequestError, match="policy of your own"):
        GenerationRequest(contexts=[BASE, PREF], policy=lambda rows: rows[0], explain=5)
    with pytest.raises(InvalidRequestError, match=r"explain=5 with 3 contexts.*reference_weights"):
        GenerationRequest(contexts=THREE, weights=(1.0, 0.0, 0.0), explain=5)
