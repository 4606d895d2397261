"""What the engine decodes is what the slow obvious way decodes."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights, ftrl_policy
from amulet_integrations.engine import GenerationRequest, LocalEngine
from tests.support.oracle import slow_greedy
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer


def random_contexts(generator: random.Random, longest: int = 30) -> list[list[int]]:
    return [
        [generator.randrange(2, VOCABULARY) for _ in range(generator.randint(1, longest))]
        for _ in range(generator.randint(1, 4))
    ]


def random_weights(generator: random.Random, count: int) -> list[float]:
    weights = [generator.uniform(-3, 3) for _ in range(count - 1)]
    return [*weights, 1.0 - sum(weights)]


def test_requests_of_all_shapes_together():
    model = tiny_model()
    generator = random.Random("llama")
    requests = []
    for _ in range(6):
        contexts = random_contexts(generator)
        requests.append(
            GenerationRequest(
                contexts=contexts,
                weights=random_weights(generator, len(contexts)),
                sampling=SamplingParams(max_new_tokens=generator.choice([1, 7, 14])),
            )
        )
    with LocalEngine(model, tiny_tokenizer()) as engine:
        together = engine.generate(requests)
        alone = [engine.generate([request])[0] for request in requests[:2]]
    assert together[:2] == alone
    for request, result in zip(requests, together, strict=True):
        limit = request.sampling.max_new_tokens
        expected = slow_greedy(model, request.contexts, request.weights, limit)
        assert result.token_ids == expected
        assert result.finish_reason == ("stop" if expected[-1] == 1 else "length")


@pytest.mark.parametrize("schedule", range(4))
def test_requests_that_join_late_change_nothing(schedule):
    generator = random.Random(schedule)
    model = tiny_model()
    requests, streams, tokens = [], [], []
    with LocalEngine(model, tiny_tokenizer(), max_rows=generator.choice([4, 8, 64])) as engine:
        for _ in range(8):
            contexts = random_contexts(generator, longest=60)
            request = GenerationRequest(
                contexts=contexts,
                weights=random_weights(generator, len(contexts)),
                sampling=SamplingParams(max_new_tokens=generator.randint(1, 40)),
            )
            requests.append(request)
            streams.append(engine.stream(request))
            tokens.append([])
            # The next one arrives when the oldest has gone on a little.
            for step in itertools.islice(streams[0], generator.randint(0, 5)):
                tokens[0] += step.token_ids
        for stream, ids in zip(streams, tokens, strict=True):
            for step in stream:
                ids.extend(step.token_ids)
    for request, ids in zip(requests, tokens, strict=True):
        limit = request.sampling.max_new_tokens
        assert ids == slow_greedy(model, request.contexts, request.weights, limit)


def test_prompts_longer_than_the_room_ahead():
    """The cache grows, and rows of very different length share it."""
    model = tiny_model()
    contexts = [list(range(2, 500)), [3, 4]]
    request = GenerationRequest(
        contexts=contexts, weights=[-1.0, 2.0], sampling=SamplingParams(max_new_tokens=60)
    )
    with LocalEngine(model, tiny_tokenizer()) as engine:
        assert engine.generate([request])[0].token_ids == slow_greedy(
            model, contexts, [-1.0, 2.0], 60
        )


def test_contexts_of_weight_0_are_not_run(tiny_engine):
    contexts = [[5, 6, 7], [8, 9]]
    result = tiny_engine.generate([GenerationRequest(contexts=contexts, weights=[0.0, 1.0])])[0]
    assert result.usage.context_tokens == (2,)
    assert result.usage.prompt_tokens == 3
    plain = tiny_engine.generate([GenerationRequest(contexts=[contexts[1]])])[0]
    assert result.token_ids == plain.token_ids


def test_a_callers_policy_is_followed(tiny_engine):
    params = AmuletParams(iterations=5)
    contexts = [[5, 6, 7], [8, 9]]
    sampling = SamplingParams(max_new_tokens=10)
    seen = []

    def play(log_probs):
        seen.append(log_probs.shape)
        return ftrl_policy(log_probs[0], log_probs[1], params)

    own, mixed = tiny_engine.generate(
        [
            GenerationRequest(contexts=contexts, policy=play, sampling=sampling),
            GenerationRequest(contexts=contexts, weights=amulet_weights(params), sampling=sampling),
        ]
    )
    assert own.token_ids == mixed.token_ids
    assert set(seen) == {(2, VOCABULARY)}


def test_sampled_tokens_follow_the_policy(tiny_engine):
    contexts, weights = [[5, 6, 7], [8, 9]], [-0.5, 1.5]
    sampling = SamplingParams(max_new_tokens=1, temperature=1.3)
    model = tiny_model()
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in contexts]
    mixed = sum(w * row for w, row in zip(weights, logits, strict=True))
    expected = (mixed / 1.3).softmax(-1)
    results = tiny_engine.generate(
        [
            GenerationRequest(
                contexts=contexts,
                weights=weights,
                sampling=sampling.model_copy(update={"seed": seed}),
            )
            for seed in range(1500)
        ]
    )
    counts = torch.bincount(torch.tensor([r.token_ids[0] for r in results]), minlength=VOCABULARY)
    torch.testing.assert_close(counts / 1500, expected, atol=0.04, rtol=0)


def test_a_seed_gives_the_same_answer_in_any_company(tiny_engine):
    def request(seed):
        return GenerationRequest(
            contexts=[[5, 6, 7], [8, 9]],
            weights=[-0.5, 1.5],
            sampling=SamplingParams(max_new_tokens=20, temperature=1.0, seed=seed),
        )

    alone = tiny_engine.generate([request(3)])[0]
    company = tiny_engine.generate([request(4), request(3), request(5)])
    assert company[1].token_ids == alone.token_ids
    assert company[0].token_ids != alone.token_ids


def test_scores_are_the_models_log_probabilities(tiny_engine):
    model = tiny_model()
    contexts = [[5, 6, 7], [8], list(range(10, 60))]
    completion = [random.Random(1).randrange(2, VOCABULARY) for _ in range(150)]
    scores = tiny_engine.score(contexts, completion)
    assert scores.shape == (3, 150)
    for row, context in zip(scores, contexts, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([context + completion])).logits[0]
        log_probs = logits.log_softmax(-1)[len(context) - 1 : -1]
        expected = log_probs.gather(-1, torch.tensor(completion)[:, None])[:, 0]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
