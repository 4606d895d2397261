"""A completion under mixtures of contexts, against plain forward passes in float64."""

from __future__ import annotations

import math
import random
import threading

import numpy as np
import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.sampling import scoring
from amulet_integrations.engine.sampling.scored_mixtures import read_mixtures
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
)
from tests.support.tiny import VOCABULARY, tiny_engine, tiny_model, tiny_tokenizer

CONTEXTS = [[5, 6, 7], [8], list(range(10, 60))]
COMPLETION = [random.Random(1).randrange(2, VOCABULARY) for _ in range(150)]
MIXTURES = [
    [1.0, 0.0, 0.0],
    [-4.0, 5.0, 0.0],
    [-1.0, 1.5, 0.5],
    [-10.0, 12.5, 0.0],  # adds up to 2.5: a temperature of 0.4
    [0.0, 0.0, 0.0],  # every token alike
]


def log_probs(model, contexts, completion):
    """Of every token under each context, shape (contexts, tokens, vocab), float64."""
    rows = []
    for context in contexts:
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *completion]])).logits[0]
        rows.append(logits[len(context) - 1 : -1].double().log_softmax(-1))
    return torch.stack(rows)


def slow_scores(model, contexts, completion, mixtures):
    """Shape (mixtures, tokens), float64."""
    rows = log_probs(model, contexts, completion)
    mixed = torch.einsum("mk,ktv->mtv", torch.tensor(mixtures).double(), rows)
    token_ids = torch.tensor(completion)[None, :, None].expand(len(mixtures), -1, 1)
    return mixed.log_softmax(-1).gather(-1, token_ids)[..., 0]


def slow_bounded(rows, weights, reference, bound, temperature):
    """The completion's scores and fractions by bisection on the divergence of each token."""
    start, end = (
        torch.einsum("k,ktv->tv", torch.tensor(mixture).double(), rows)
        for mixture in (reference, weights)
    )
    at_start = start.log_softmax(-1)
    low = torch.zeros(len(start), 1).double()
    high = torch.ones_like(low)
    for _ in range(60):
        middle = (low + high) / 2.0
        policy = (start + middle * (end - start)).log_softmax(-1)
        within = (policy.exp() * (policy - at_start)).sum(-1, keepdim=True) <= bound
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    policy = ((start + low * (end - start)) / temperature).log_softmax(-1)
    return policy.gather(-1, torch.tensor(COMPLETION)[:, None])[:, 0], low[:, 0]


def test_scores_are_those_of_the_mixtures(tiny_engine):
    scores = tiny_engine.score(CONTEXTS, COMPLETION, MIXTURES)
    assert scores.shape == (len(MIXTURES), len(COMPLETION))
    assert (scores.dtype, scores.device.type) == (torch.float32, "cpu")
    expected = slow_scores(tiny_model(), CONTEXTS, COMPLETION, MIXTURES)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores[-1], torch.full((150,), -math.log(VOCABULARY)))


def test_single_contexts_are_mixtures_too(tiny_engine):
    alone = tiny_engine.score(CONTEXTS, COMPLETION)
    for rows in (torch.eye(3), np.eye(3), list(np.eye(3, dtype=np.float32)), np.eye(3).tolist()):
        mixed = tiny_engine.score(CONTEXTS, COMPLETION, rows)
        torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-4)


def test_blocks_of_mixtures_change_nothing(tiny_engine, monkeypatch):
    whole = tiny_engine.score(CONTEXTS, COMPLETION, MIXTURES)
    monkeypatch.setattr(scoring, "_MIXED_AT_ONCE", 2 * VOCABULARY)
    monkeypatch.setattr(scoring, "_CHUNK_OF_MIXTURES", 7)
    torch.testing.assert_close(
        tiny_engine.score(CONTEXTS, COMPLETION, MIXTURES), whole, rtol=1e-4, atol=1e-4
    )


def test_no_more_than_a_bounded_number_of_values_is_mixed_at_once(tiny_engine, monkeypatch):
    held = []
    real = scoring.mix_contexts
    monkeypatch.setattr(scoring, "_MIXED_AT_ONCE", 3 * VOCABULARY)
    monkeypatch.setattr(
        scoring,
        "mix_contexts",
        lambda logits, matrix: held.append(len(matrix) * logits.shape[-1]) or real(logits, matrix),
    )
    tiny_engine.score([[5], [6]], [7, 8, 9], [[1.0 - g, float(g)] for g in range(100)])
    assert max(held) == 3 * VOCABULARY


def test_a_step_mixes_a_bounded_number_of_values(tiny_engine, monkeypatch):
    whole = tiny_engine.score(CONTEXTS, COMPLETION, MIXTURES)
    alone = tiny_engine.score(CONTEXTS, COMPLETION)
    bound = 3 * len(MIXTURES) * VOCABULARY + 1
    monkeypatch.setattr(scoring, "_MIXED_AT_ONCE", bound)
    backend, mixtures = tiny_engine.backend, read_mixtures(MIXTURES, contexts=len(CONTEXTS))
    request = scoring.ScoringRequest(CONTEXTS, COMPLETION, mixtures)
    steps = list(scoring.score_in_steps(backend, request))
    assert max(step.numel() * VOCABULARY for step in steps) == bound - 1
    assert torch.equal(torch.cat(steps, dim=1), whole)
    # Without mixtures there is one pass over the logits, and no need to stop within it.
    steps = list(scoring.score_in_steps(backend, scoring.ScoringRequest(CONTEXTS, COMPLETION)))
    assert [step.shape[1] for step in steps] == [1, 64, 64, 21]
    assert torch.equal(torch.cat(steps, dim=1), alone)


def test_a_token_that_a_context_excludes_is_excluded_where_that_context_counts(monkeypatch):
    model = tiny_model()
    forward = model.forward

    def without_token_9(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits[1, :, 9] = -math.inf
        return output

    with LocalEngine(model, tiny_tokenizer()) as engine:
        monkeypatch.setattr(engine.backend.model, "forward", without_token_9)
        scores = engine.score([[5], [6]], [9, 7], [[1.0, 0.0], [2.0, -1.0], [0.5, 0.5]])
    assert scores[:, 0].isneginf().tolist() == [False, True, True]
    assert scores[:, 1].isfinite().all()


def test_bounded_scores_are_those_of_a_slow_search(tiny_engine):
    reference = [0.25, 0.5, 0.25]
    bounded = [
        ([-0.5, 1.0, 0.5], 0.5),
        ([-3.5, 3.0, 1.5], 0.5),  # twice and more in the same direction: one search for both
        ([-3.5, 3.0, 1.5], 0.02),
        ([0.5, 0.25, 0.25], 0.05),  # back towards the base
        ([0.0, 0.0, 1.0], 0.0),  # nowhere
        ([8.0, -2.0, -5.0], 3.0),
    ]
    free = [([1.0, 0.0, 0.0], 0.2), (reference, 0.0), ([-4.0, 5.0, 0.0], None)]
    mixtures, bounds = zip(*bounded, *free, strict=True)
    scores = tiny_engine.score(
        CONTEXTS,
        COMPLETION,
        mixtures,
        max_kl=bounds,
        reference_weights=reference,
        temperature=0.7,
    ).double()
    rows = log_probs(tiny_model(), CONTEXTS, COMPLETION)
    fractions = []
    for score, (weights, bound) in zip(scores, bounded, strict=False):
        expected, fraction = slow_bounded(rows, weights, reference, bound, 0.7)
        torch.testing.assert_close(score, expected, rtol=1e-3, atol=2e-2)
        fractions.append((fraction < 1.0).double().mean().item())
    assert [0.0 < share < 1.0 for share in fractions].count(True) >= 2
    divided = [[weight / 0.7 for weight in weights] for weights, _ in free]
    expected = slow_scores(tiny_model(), CONTEXTS, COMPLETION, divided)
    torch.testing.assert_close(scores[-3:], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("scale", "max_kl"), [(6.0, 0.1), (2.0, 0.5), (6.0, None)])
def test_bounded_scores_are_those_that_decoding_reports(tiny_engine, scale, max_kl):
    contexts, weights = [[5, 6, 7], [8, 9]], [1.0 - scale, scale]
    sampling = SamplingParams(max_new_tokens=60, temperature=1.0, seed=1)
    (result,) = tiny_engine.generate(
        [
            GenerationRequest(
                contexts=contexts, weights=weights, max_kl=max_kl, sampling=sampling, logprobs=0
            )
        ]
    )
    (scores,) = tiny_engine.score(contexts, result.token_ids, [weights], max_kl=max_kl)
    logprobs = torch.tensor([one.logprob for one in result.logprobs])
    torch.testing.assert_close(scores, logprobs, rtol=0.0, atol=1e-4)
    if max_kl is not None:
        assert min(result.guidance_fractions) < 1.0


def test_mixtures_in_one_direction_share_a_search(tiny_engine, monkeypatch):
    contexts, scales = [[5, 6, 7], [8, 9]], [0.5, 1.0, 1.2, 2.0, 3.0, 5.65, 20.0]
    mixtures = [[1.0 - scale, scale] for scale in scales]
    alone = [tiny_engine.score(contexts, COMPLETION, [row], max_kl=0.3) for row in mixtures]
    searched = []
    real = scoring.mix_bounded_contexts
    monkeypatch.setattr(
        scoring,
        "mix_bounded_contexts",
        lambda logits, *mixing: searched.append(len(mixing[0])) or real(logits, *mixing),
    )
    together = tiny_engine.score(contexts, COMPLETION, mixtures, max_kl=0.3)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0.0, atol=2e-3)
    # One from the reference towards stronger guidance, and one from there towards the base.
    assert searched == [1] * 2 * len(COMPLETION)


def test_every_mixture_may_have_a_reference_of_its_own(tiny_engine):
    mixtures = [[-1.0, 2.0, 0.0], [-1.0, 0.0, 2.0]]
    references = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    both = tiny_engine.score(
        CONTEXTS, COMPLETION, mixtures, max_kl=0.3, reference_weights=references
    )
    for place in (1, 2):
        two = [CONTEXTS[0], CONTEXTS[place]]
        (alone,) = tiny_engine.score(two, COMPLETION, [[-1.0, 2.0]], max_kl=0.3)
        torch.testing.assert_close(both[place - 1], alone, rtol=1e-4, atol=1e-4)


def test_a_temperature_divides_single_contexts_too(tiny_engine):
    warm = tiny_engine.score(CONTEXTS, COMPLETION, temperature=2.0)
    halves = tiny_engine.score(CONTEXTS, COMPLETION, torch.eye(3) / 2.0)
    torch.testing.assert_close(warm, halves, rtol=1e-4, atol=1e-4)


def test_a_bound_excludes_what_the_reference_excludes(monkeypatch):
    model = tiny_model()
    forward = model.forward

    def without_token_9(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits[2, :, 9] = -math.inf
        return output

    mixtures = [[0.5, 0.5, 0.0], [0.4, 0.5, 0.1], [-0.5, 0.5, 1.0]]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        monkeypatch.setattr(engine.backend.model, "forward", without_token_9)
        contexts, reference = [[5], [6], [7]], [0.0, 0.5, 0.5]
        scores = engine.score(contexts, [9, 7], mixtures, max_kl=99.0, reference_weights=reference)
        free = engine.score(contexts, [9, 7], mixtures)
    assert scores[:, 0].isneginf().all()
    assert free[:, 0].isneginf().tolist() == [False, True, True]
    assert scores[0, 1] > free[0, 1]
    torch.testing.assert_close(scores[1:, 1], free[1:, 1])


def test_requests_are_decoded_between_the_steps_of_scoring():
    order = []
    with tiny_engine() as engine:
        request = GenerationRequest(contexts=[[5]], sampling=SamplingParams(max_new_tokens=400))
        stream = engine.stream(request)
        next(stream)
        thread = threading.Thread(
            target=lambda: order.append(engine.score([[5], [6]], COMPLETION * 3, [[0.5, 0.5]] * 99))
        )
        thread.start()
        steps = [len(increment.token_ids) for increment in stream if not order]
        thread.join()
    assert sum(steps) > 5
    assert order[0].shape == (99, 450)


def test_an_engine_closed_meanwhile_says_so():
    engine = tiny_engine()
    steps = iter([torch.zeros(1, 1), torch.zeros(1, 1)])
    pieces = []
    assert engine._score_on(steps, pieces)
    engine.close()
    with pytest.raises(EngineClosedError):
        engine._score_on(steps, pieces)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_prompts_are_read_in_chunks_of_the_engines_size(chunk, monkeypatch):
    widths = []
    with LocalEngine(tiny_model(), tiny_tokenizer(), max_prefill_tokens=chunk) as engine:
        forward = engine.backend.forward

        def seen(cache, inputs, logits_to_keep=1):
            widths.append(sum(len(each.ids) for each in inputs))
            return forward(cache, inputs, logits_to_keep)

        monkeypatch.setattr(engine.backend, "forward", seen)
        scores = engine.score(CONTEXTS, COMPLETION[:30])
    assert max(widths) <= max(chunk, len(CONTEXTS))
    with tiny_engine() as other:
        torch.testing.assert_close(scores, other.score(CONTEXTS, COMPLETION[:30]))


def test_scores_that_memory_does_not_hold_are_refused():
    with (
        LocalEngine(tiny_model(), tiny_tokenizer(), max_cache_tokens=80) as engine,
        pytest.raises(ContextLengthError, match="max_cache_tokens=80"),
    ):
        engine.score([[5] * 40, [6] * 40], [7] * 9)
