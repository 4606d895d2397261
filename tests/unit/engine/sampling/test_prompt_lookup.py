"""Drafts copied from the prompt change how fast an answer comes, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.sampling.prompt_lookup import PromptLookup
from tests.support.oracle import slow_greedy
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

WEIGHTS = [-1.0, 2.0]


class Copycat:
    """A model that repeats what follows the same token in its prompt, except at every 7th place."""

    def __init__(self, model):
        self._forward = model.forward
        self.passes = 0

    def __call__(self, input_ids, position_ids, **options):
        output = self._forward(input_ids=input_ids, position_ids=position_ids, **options)
        self.passes += 1
        favourite = (input_ids + 1 + (position_ids % 7 == 0)) % VOCABULARY
        kept = output.logits.shape[1]
        favourite = favourite[:, -kept:].clamp(min=2)
        output.logits.mul_(0.1).scatter_add_(
            2, favourite[..., None], torch.full(output.logits.shape[:2], 5.0)[..., None]
        )
        return output


def request(**sampling):
    counting = [*range(10, 60), 10, 11, 12]
    return GenerationRequest(
        contexts=[counting, [3, *counting]],
        weights=WEIGHTS,
        sampling=SamplingParams(**{"max_new_tokens": 40, **sampling}),
    )


def answers(requests, drafts):
    model = tiny_model()
    model.forward = copycat = Copycat(model)
    with LocalEngine(
        model, tiny_tokenizer(), prompt_lookup_num_tokens=drafts, max_prefix_tokens=0
    ) as engine:
        return engine.generate(requests), copycat.passes


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.7, "seed": 4, "top_p": 0.9, "repetition_penalty": 1.2},
        {"min_new_tokens": 30},
        {"max_new_tokens": 1},
        {"max_new_tokens": 7},
    ],
)
def test_drafts_change_nothing_but_the_number_of_passes(sampling):
    expected, many = answers([request(**sampling)], 0)
    found, few = answers([request(**sampling)], 10)
    assert found == expected
    assert few <= many
    if not sampling:
        assert few < many / 2


def test_requests_with_and_without_drafts_run_together():
    requests = [request(), request(temperature=1.0, seed=1), request(max_new_tokens=5)]
    requests.append(
        GenerationRequest(contexts=[[5, 9, 5, 9]], sampling=SamplingParams(max_new_tokens=30))
    )
    expected = [answers([each], 0)[0][0] for each in requests]
    assert answers(requests, 10)[0] == expected


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=40), st.integers(0, 4))
def test_greedy_is_that_of_the_slow_decode_on_repetitive_text(text, seed):
    model = tiny_model(seed=seed)
    contexts = [text, [7, *text]]
    request_of_text = GenerationRequest(
        contexts=contexts, weights=WEIGHTS, sampling=SamplingParams(max_new_tokens=24)
    )
    with LocalEngine(model, tiny_tokenizer(), prompt_lookup_num_tokens=6) as engine:
        (found,) = engine.generate([request_of_text])
    assert found.token_ids == slow_greedy(model, contexts, WEIGHTS, 24)


def test_sampling_keeps_its_distribution(monkeypatch):
    """Frequencies of a token that was drafted, against its exact probabilities."""
    prompt = [5, 6, 7, 8, 9, 10, 11, 5, 6, 7]
    model = tiny_model()
    model.forward = copycat = Copycat(model)
    ids = torch.tensor([[*prompt, 8]])
    with torch.no_grad():
        logits = copycat(ids, torch.arange(len(prompt) + 1)[None]).logits[0, -1]
    drafts = []
    monkeypatch.setattr(
        PromptLookup, "update_acceptance", lambda _, drafted, right: drafts.append((drafted, right))
    )
    sampling = SamplingParams(max_new_tokens=4, temperature=0.8)
    requests = [
        GenerationRequest(contexts=[prompt], sampling=sampling.model_copy(update={"seed": seed}))
        for seed in range(400)
    ]
    with LocalEngine(model, tiny_tokenizer(), prompt_lookup_num_tokens=2, max_rows=8) as engine:
        results = engine.generate(requests)
    after = [result.token_ids[1] for result in results if result.token_ids[0] == 8]
    frequencies = torch.bincount(torch.tensor(after), minlength=VOCABULARY) / len(after)
    assert {right for _, right in drafts} == {0, 1, 2}
    torch.testing.assert_close(frequencies, (logits / 0.8).softmax(-1), atol=0.08, rtol=0)


def test_lookup_finds_what_followed():
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 1, 2, 3], 8)
    assert lookup.draft(8) == [4, 5, 6, 7]
    assert lookup.draft(2) == [4, 5]
    lookup.update_acceptance(4, 4)
    assert lookup.draft(8) == [4, 5, 6, 7, 1, 2, 3]
    lookup.push([9])
    assert lookup.draft(8) == []


def test_wrong_drafts_make_pauses_that_grow():
    lookup = PromptLookup([1, 2, 3] * 5, 8)
    made = []
    for _ in range(40):
        draft = lookup.draft(8)
        made.append(bool(draft))
        if draft:
            lookup.update_acceptance(len(draft), 0)
    assert [index for index, drafted in enumerate(made) if drafted] == [0, 2, 5, 10, 19, 36]
