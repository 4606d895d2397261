"""Log-probabilities against those computed by hand; ends of the text; special tokens."""

from __future__ import annotations

import json
import random

import pytest
import torch
from pydantic import ValidationError

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import AmuletError, InvalidParamsError, InvalidRequestError
from tests.support.schemas import random_schema, schema_grammar
from tests.support.tiny import VOCABULARY, tiny_engine, tiny_model, tiny_tokenizer

CONTEXTS = [[5, 6, 7], [8, 9]]
BASE, MIXED = (1.0, 0.0), (-1.0, 2.0)
END = 1


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def make_request(weights=MIXED, contexts=CONTEXTS, tokens=24, **changes):
    sampling = SamplingParams(**{"max_new_tokens": tokens, **changes.pop("sampling", {})})
    return GenerationRequest(
        contexts=contexts, weights=weights, sampling=sampling, **{"logprobs": 5, **changes}
    )


def rows_of(model, contexts, completion):
    with torch.no_grad():
        logits = [model(torch.tensor([[*ids, *completion]])).logits[0, -1] for ids in contexts]
    return torch.stack(logits).double().log_softmax(-1)


def mixture(model, contexts, completion, weights):
    """The normalised policy, from each context by itself, float64."""
    rows = rows_of(model, contexts, completion)
    return (torch.tensor(weights, dtype=torch.float64) @ rows).log_softmax(-1)


def check(result, policy_at, count=5):
    """Compares every step with `policy_at(completion so far)`."""
    assert [step.token_id for step in result.logprobs] == result.token_ids
    for number, step in enumerate(result.logprobs):
        policy = policy_at(result.token_ids[:number])
        assert step.logprob == pytest.approx(float(policy[step.token_id]), abs=2e-4)
        values = [other.logprob for other in step.top]
        assert values == sorted(values, reverse=True)
        assert values == pytest.approx(policy.topk(count).values.tolist(), abs=2e-4)
        expected = [float(policy[other.token_id]) for other in step.top]
        assert values == pytest.approx(expected, abs=2e-4)
        assert len({other.token_id for other in step.top}) == count
        assert not any(other.top for other in step.top)


SAMPLED = {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "seed": 4}


@pytest.mark.parametrize(
    "sampling",
    [{}, SAMPLED, {"repetition_penalty": 3.0}, SAMPLED | {"repetition_penalty": 1.5}],
    ids=["greedy", "sampled", "penalised", "both"],
)
@pytest.mark.parametrize("weights", [BASE, MIXED], ids=["base", "mixed"])
def test_they_are_those_of_the_mixture(tiny_engine, model, weights, sampling):
    (result,) = tiny_engine.generate([make_request(weights, sampling=sampling)])
    check(result, lambda done: mixture(model, CONTEXTS, done, weights))
    (quiet,) = tiny_engine.generate([make_request(weights, sampling=sampling, logprobs=None)])
    assert quiet.token_ids == result.token_ids
    assert quiet.logprobs == []


def test_a_single_context(tiny_engine, model):
    (result,) = tiny_engine.generate([make_request(None, CONTEXTS[:1], sampling=SAMPLED)])
    check(result, lambda done: mixture(model, CONTEXTS[:1], done, (1.0,)))


def test_a_callers_policy(tiny_engine, model):
    def policy(log_probs):
        return 3.0 * log_probs[0] - log_probs[1]  # not normalised

    def by_hand(done):
        rows = rows_of(model, CONTEXTS, done)
        return (3.0 * rows[0] - rows[1]).log_softmax(-1)

    (result,) = tiny_engine.generate([make_request(None, policy=policy)])
    check(result, by_hand)


@pytest.mark.parametrize("seed", range(4))
def test_constrained_requests_report_the_policy_without_the_grammar(tiny_engine, model, seed):
    grammar = schema_grammar(random_schema(random.Random(seed)))
    sampling = {"temperature": 1.0, "seed": seed}
    request = make_request(
        BASE,
        alternatives=[OutputAlternative(grammar=grammar, weights=MIXED)],
        tokens=80,
        sampling=sampling,
    )
    (result,) = tiny_engine.generate([request])
    json.loads(result.text)
    check(result, lambda done: mixture(model, CONTEXTS, done, MIXED))
    # What a grammar forces is unlikely by itself, and is reported so.
    assert min(step.logprob for step in result.logprobs) < -5


def test_a_decided_alternative_is_reported_with_its_own_weights(tiny_engine, model):
    alternatives = [
        OutputAlternative(grammar="start: /[a-zA-Z ]+/", weights=MIXED),
        OutputAlternative(grammar="start: /[!-@]+/", weights=MIXED),
    ]
    (result,) = tiny_engine.generate([make_request(BASE, alternatives=alternatives)])
    check(result, lambda done: mixture(model, CONTEXTS, done, MIXED))


def test_requests_with_and_without_them_side_by_side(tiny_engine):
    requests = [
        make_request(),
        make_request(logprobs=None),
        make_request(BASE),
        make_request(BASE, logprobs=0),
    ]
    results = tiny_engine.generate(requests)
    for request, result in zip(requests, results, strict=True):
        (alone,) = tiny_engine.generate([request])
        assert alone.token_ids == result.token_ids
    assert results[0].token_ids == results[1].token_ids
    assert [step.top for step in results[3].logprobs] == [()] * len(results[3].token_ids)
    values = [step.logprob for step in results[3].logprobs]
    assert values == pytest.approx([step.logprob for step in results[2].logprobs], abs=2e-4)


def test_streams_report_them_token_by_token(tiny_engine):
    steps = list(tiny_engine.stream(make_request()))
    assert all(len(step.logprobs) == len(step.token_ids) == 1 for step in steps)
    folded = GenerationResult.fold(steps)
    (whole,) = tiny_engine.generate([make_request()])
    assert folded == whole
    tokenizer = tiny_tokenizer()
    assert [step.token for step in whole.logprobs] == [
        tokenizer.decode([token]) for token in whole.token_ids
    ]


@pytest.mark.parametrize("count", [-1, 21, "many"])
def test_how_many_are_reported_has_bounds(count):
    with pytest.raises(InvalidRequestError, match="logprobs"):
        make_request(logprobs=count)


@pytest.fixture(scope="module")
def ending_engine():
    """An engine that wants to end the text at its fifth token."""
    with tiny_engine() as engine:
        free = engine.generate([make_request(logprobs=None)])[0]
        engine.backend.end_ids = frozenset({END, free.token_ids[4]})
        yield engine


@pytest.mark.parametrize("logprobs", [None, 3])
def test_no_end_before_min_new_tokens(ending_engine, model, logprobs):
    ends = ending_engine.backend.end_ids
    (short,) = ending_engine.generate([make_request(logprobs=logprobs)])
    assert short.finish_reason == "stop"
    least = len(short.token_ids) + 6
    sampling = {"min_new_tokens": least}
    (long,) = ending_engine.generate([make_request(logprobs=logprobs, sampling=sampling)])
    assert len(long.token_ids) >= least
    assert not set(long.token_ids[: least - 1]) & ends
    for number in range(least - 1):  # otherwise nothing has changed
        policy = mixture(model, CONTEXTS, long.token_ids[:number], MIXED)
        policy[sorted(ends)] = -torch.inf
        assert long.token_ids[number] == int(policy.argmax())


def test_min_new_tokens_holds_for_samples_and_in_company(ending_engine):
    sampling = {"temperature": 1.5, "min_new_tokens": 20, "top_k": 3}
    requests = [
        make_request(logprobs=None, sampling={**sampling, "seed": seed}) for seed in range(12)
    ]
    results = ending_engine.generate([*requests, make_request(logprobs=None)])
    for result in results[:-1]:
        assert not set(result.token_ids[:19]) & ending_engine.backend.end_ids
    assert len(results[-1].token_ids) < 19


def test_min_new_tokens_lengthens_constrained_text_as_far_as_its_grammar_goes(tiny_engine):
    for seed in range(8):
        sampling = {"temperature": 3.0, "seed": seed, "min_new_tokens": 15}
        alternatives = [OutputAlternative(grammar=r"start: /[a-z ]*/")]
        (result,) = tiny_engine.generate(
            [make_request(alternatives=alternatives, sampling=sampling)]
        )
        assert len(result.token_ids) >= 15
        whole = [OutputAlternative(grammar=schema_grammar({"type": "boolean"}))]
        (short,) = tiny_engine.generate([make_request(alternatives=whole, sampling=sampling)])
        assert json.loads(short.text) in {True, False}


@pytest.mark.parametrize("value", [-1, 1.5, "a"])
def test_min_new_tokens_has_bounds(value):
    with pytest.raises(InvalidParamsError, match="min_new_tokens") as caught:
        SamplingParams(min_new_tokens=value)
    assert isinstance(caught.value, AmuletError)
    assert not isinstance(caught.value, ValidationError)


@pytest.mark.parametrize("skip", [True, False])
def test_special_tokens_stay_in_the_text_where_wanted(skip):
    def policy(log_probs):
        """Writes a special token now and then, and ends after nine."""
        step = len(steps)
        steps.append(step)
        wanted = torch.full((VOCABULARY,), -50.0)
        wanted[END if step == 9 else 0 if step % 3 == 1 else 40 + step] = 0.0
        return wanted

    steps: list[int] = []
    with tiny_engine() as engine:
        request = make_request(None, policy=policy, logprobs=None, skip_special_tokens=skip)
        (result,) = engine.generate([request])
        tokenizer = engine.tokenizer
    assert result.token_ids[-1] == END
    body = result.token_ids[:-1]
    assert result.text == tokenizer.decode(body, skip_special_tokens=skip)
    assert result.text.count("<|im_start|>") == (0 if skip else 3)
    assert "<|im_end|>" not in result.text
