"""Sampling one token, against what transformers' generate does and against exact odds."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from amulet_integrations import SamplingParams
from amulet_integrations.decoding import LogitsFilters

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -4.0])


def draws(params: SamplingParams, count: int = 4000, completion=()) -> torch.Tensor:
    filters = LogitsFilters(params)
    tokens = torch.stack([filters.draw(LOGITS, completion) for _ in range(count)])
    return torch.bincount(tokens, minlength=len(LOGITS)) / count


def test_greedy_takes_the_likeliest():
    filters = LogitsFilters(SamplingParams())
    assert filters.is_argmax
    assert filters.draw(LOGITS, []) == 0


def test_sampling_follows_the_policy():
    odds = draws(SamplingParams(temperature=1.0, seed=1))
    torch.testing.assert_close(odds, LOGITS.softmax(-1), atol=0.03, rtol=0)


def test_top_k_top_p_and_min_p_keep_the_right_tokens():

    def kept(**values):
        return draws(SamplingParams(temperature=1.0, seed=1, **values), 400).count_nonzero()

    assert kept(top_k=2) == 2
    probabilities = LOGITS.softmax(-1)
    inside = (probabilities.cumsum(-1) - probabilities < 0.7).sum()
    assert kept(top_p=0.7) == inside
    assert kept(min_p=0.2) == (probabilities >= 0.2 * probabilities.max()).sum()


@pytest.mark.parametrize(
    "values",
    [
        {"top_k": 1},
        {"top_k": 4, "top_p": 0.6},
        {"min_p": 0.1, "repetition_penalty": 2.0},
        {"temperature": 3.0, "top_p": 0.75, "min_p": 0.3},
        {"temperature": 1.4, "top_k": 5, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 0.5},
    ],
    ids=str,
)
def test_draws_are_those_of_transformers_classes_in_the_documented_order(values):
    params = SamplingParams(**{"temperature": 1.0, "seed": 5, **values})
    chain = [
        RepetitionPenaltyLogitsProcessor(params.repetition_penalty),
        TemperatureLogitsWarper(params.temperature),
        TopKLogitsWarper(params.top_k or len(LOGITS)),
        TopPLogitsWarper(params.top_p),
        MinPLogitsWarper(params.min_p),
    ]
    scores, completion = LOGITS[None], [0, 5]
    for step in chain:
        scores = step(torch.tensor([completion]), scores)
    generator = torch.Generator().manual_seed(5)
    filters = LogitsFilters(params)
    for _ in range(60):
        expected = torch.multinomial(scores.softmax(-1), 1, generator=generator)
        assert filters.draw(LOGITS, completion) == expected.item()


def test_the_smallest_temperature_leaves_large_logits_finite():
    filters = LogitsFilters(SamplingParams(temperature=1e-5, seed=1))
    assert filters.draw(torch.tensor([1e34, 3e34, 2e34]), []) == 1


def test_the_penalty_sees_the_completion_only():
    penalised = LogitsFilters(SamplingParams(repetition_penalty=3.0))
    assert not penalised.is_argmax
    assert penalised.draw(LOGITS, []) == 0
    assert penalised.draw(LOGITS, [0, 0]) == 1
    # As in transformers, a negative logit is multiplied, a positive one divided.
    assert penalised.draw(torch.tensor([-1.0, -2.0]), [0]) == 1


def test_a_seed_repeats_and_no_seed_does_not():
    def tokens(seed):
        filters = LogitsFilters(SamplingParams(temperature=1.5, seed=seed))
        return [int(filters.draw(LOGITS, [])) for _ in range(60)]

    assert tokens(7) == tokens(7)
    assert tokens(7) != tokens(8)
    assert tokens(None) != tokens(None)
