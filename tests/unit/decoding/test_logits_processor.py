"""AmuletLogitsProcessor inside transformers' own generate."""

from __future__ import annotations

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import AmuletLogitsProcessor, amulet_policy
from amulet_integrations.errors import (
    GenerationError,
    GuidanceScaleError,
    InvalidParamsError,
    InvalidRequestError,
)
from tests.support.tiny import tiny_model

PARAMS = AmuletParams(iterations=10)
INF = float("inf")
BASE, PREF = [5, 6, 7, 8], [5, 6, 300, 7, 8]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def generate(model, base, pref, processor, tokens=12, **options):
    width = max(map(len, base + pref))
    rows = [[0] * (width - len(ids)) + ids for ids in base + pref]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in base + pref]
    out = model.generate(
        input_ids=torch.tensor(rows),
        attention_mask=torch.tensor(mask),
        max_new_tokens=tokens,
        logits_processor=LogitsProcessorList([processor]),
        pad_token_id=1,
        **options,
    )
    return out[:, width:].tolist()


def slowly(model, base, pref, tokens, pick):
    """No cache, no batch; `pick` gets the logits of both contexts, and the completion."""
    completion = []
    while len(completion) < tokens and completion[-1:] != [1]:
        with torch.no_grad():
            logits = [model(torch.tensor([ids + completion])).logits[0, -1] for ids in (base, pref)]
        completion.append(int(pick(*logits, completion)))
    return completion


def slow_greedy(model, base, pref, tokens, *, max_kl=None, params=PARAMS):
    def pick(base_logits, pref_logits, _):
        return amulet_policy(base_logits, pref_logits, params, max_kl).argmax()

    return slowly(model, base, pref, tokens, pick)


@pytest.mark.parametrize("options", [{}, {"do_sample": True}], ids=["greedy", "sampling"])
def test_both_rows_take_amulets_token(model, options):
    expected = slow_greedy(model, BASE, PREF, 12)
    rows = generate(model, [BASE], [PREF], AmuletLogitsProcessor(PARAMS), **options)
    assert rows == [expected, expected]


@pytest.mark.parametrize("max_kl", [0.0, 0.05, 0.5])
def test_a_bound_is_kept_by_every_pair(model, max_kl):
    processor = AmuletLogitsProcessor(max_kl=max_kl, guidance_scale=PARAMS.guidance_scale)
    rows = generate(model, [BASE, [400, 401]], [PREF, [400, 401, 9]], processor, 8)
    assert rows[0] == rows[2] == slow_greedy(model, BASE, PREF, 8, max_kl=max_kl)
    assert rows[1] == rows[3] == slow_greedy(model, [400, 401], [400, 401, 9], 8, max_kl=max_kl)


def test_pairs_of_one_batch_are_decoded_each_for_itself(model):
    other = [400, 401]
    rows = generate(model, [BASE, other], [PREF, [*other, 9]], AmuletLogitsProcessor(PARAMS), 6)
    assert rows[0] == rows[2]
    assert rows[1] == rows[3]
    assert rows[0] == slow_greedy(model, BASE, PREF, 6)
    assert rows[1] == slow_greedy(model, other, [*other, 9], 6)


def test_sampling_is_the_processors_and_repeats_with_its_seed(model):
    processor = AmuletLogitsProcessor(PARAMS, sampling=SamplingParams(temperature=1.5, seed=3))
    first, again = (generate(model, [BASE], [PREF], processor) for _ in range(2))
    assert first[0] == first[1]
    assert first == again
    assert first[0] != slow_greedy(model, BASE, PREF, 12)


def test_the_default_is_the_published_game(model):
    published = slow_greedy(model, BASE, PREF, 12, params=AmuletParams())
    assert generate(model, [BASE], [PREF], AmuletLogitsProcessor())[0] == published
    preset = AmuletLogitsProcessor(guidance_scale=2.0)
    assert generate(model, [BASE], [PREF], preset)[0] != published


def test_the_base_policy_is_never_bounded(model):
    processor = AmuletLogitsProcessor(max_kl=0.0, guidance_scale=0.0)
    rows = generate(model, [BASE], [PREF], processor)
    plain = model.generate(torch.tensor([BASE]), max_new_tokens=12, pad_token_id=1)
    assert rows[0] == rows[1] == plain[0, len(BASE) :].tolist()


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("penalty", [0.7, 1.6])
def test_draws_and_penalties_go_on_from_token_to_token(model, scale, penalty):
    """The penalty applies to one context's logits, or to weighted log-probabilities of both."""
    generator = torch.Generator().manual_seed(3)
    punish = RepetitionPenaltyLogitsProcessor(penalty)

    def pick(base_logits, pref_logits, completion):
        contexts = torch.stack([base_logits, pref_logits]).double()
        contexts = contexts.log_softmax(-1) if scale not in {0.0, 1.0} else contexts
        scores = ((1.0 - scale) * contexts[0] + scale * contexts[1]).float()[None]
        scores = punish(torch.tensor([completion], dtype=torch.long), scores)
        return torch.multinomial((scores[0] / 1.5).softmax(-1), 1, generator=generator)

    sampling = SamplingParams(temperature=1.5, seed=3, repetition_penalty=penalty)
    processor = AmuletLogitsProcessor(guidance_scale=scale, sampling=sampling)
    expected = slowly(model, BASE, PREF, 12, pick)
    assert generate(model, [BASE], [PREF], processor)[0] == expected


def test_a_new_prompt_as_long_as_the_last_text_begins_anew(model):
    processor = AmuletLogitsProcessor(PARAMS, sampling=SamplingParams(temperature=1.5, seed=3))
    generate(model, [BASE], [PREF], processor, tokens=4)
    longer = [[*BASE, 9, 9, 9, 9], [*PREF, 9, 9, 9, 9]]
    fresh = AmuletLogitsProcessor(PARAMS, sampling=SamplingParams(temperature=1.5, seed=3))
    again = generate(model, longer[:1], longer[1:], processor)
    assert again == generate(model, longer[:1], longer[1:], fresh)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_a_pair_without_a_token_is_an_error(row, value):
    scores, ids = torch.zeros(4, 9), torch.zeros(4, 2, dtype=torch.long)
    scores[row] = value
    with pytest.raises(GenerationError, match=r"No token.*float32"):
        AmuletLogitsProcessor()(ids, scores)


def test_the_rows_are_one_hot_and_an_excluded_token_is_not_picked():
    scores, ids = torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.long)
    scores[2], scores[3], scores[1, 1] = torch.tensor([0.0, 1.0, 2.0]), torch.arange(3), -INF
    scores[3, 2] = -INF
    picked = AmuletLogitsProcessor()(ids, scores)
    pairs = [[-INF, -INF, 0.0], [0.0, -INF, -INF]]
    assert picked.tolist() == pairs * 2


def test_bad_use_is_refused():
    with pytest.raises(GuidanceScaleError, match=r"143,056 \(from params=.*alpha=4"):
        AmuletLogitsProcessor(AmuletParams(alpha=4, lambda_=0.5, iterations=15))
    with pytest.raises(GuidanceScaleError, match="max_guidance_scale"):
        AmuletLogitsProcessor(guidance_scale=1e6)
    with pytest.raises(InvalidParamsError, match="in one way"):
        AmuletLogitsProcessor(PARAMS, guidance_scale=2.0)
    with pytest.raises(InvalidParamsError, match="None for no bound"):
        AmuletLogitsProcessor(max_kl=-1.0)
    with pytest.raises(InvalidParamsError, match="stop_strings"):
        AmuletLogitsProcessor(sampling=SamplingParams(stop=["x"]))
    with pytest.raises(InvalidRequestError, match="3 rows"):
        AmuletLogitsProcessor()(torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, 9))
