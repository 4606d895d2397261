"""Sampling one token, against what transformers' generate does and against exact odds."""

from __future__ import annotations

import torch

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


def test_temperature_sharpens():
    odds = draws(SamplingParams(temperature=0.5, seed=1))
    torch.testing.assert_close(odds, (LOGITS / 0.5).softmax(-1), atol=0.03, rtol=0)


def test_top_k_top_p_and_min_p_keep_the_right_tokens():
    assert draws(SamplingParams(temperature=1.0, top_k=2, seed=1)).count_nonzero() == 2
    probabilities = LOGITS.softmax(-1)
    inside = (probabilities.cumsum(-1) - probabilities < 0.7).sum()
    assert draws(SamplingParams(temperature=1.0, top_p=0.7, seed=1)).count_nonzero() == inside
    kept = (probabilities >= 0.2 * probabilities.max()).sum()
    assert draws(SamplingParams(temperature=1.0, min_p=0.2, seed=1)).count_nonzero() == kept


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
