"""A completion under mixtures of contexts, against plain forward passes in float64."""

from __future__ import annotations

import math
import random
import threading

import numpy as np
import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, scoring
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
    InvalidRequestError,
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


def slow_scores(model, contexts, completion, mixtures):
    """Shape (mixtures, tokens), float64."""
    rows = []
    for context in contexts:
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *completion]])).logits[0]
        rows.append(logits[len(context) - 1 : -1].double().log_softmax(-1))
    mixed = torch.einsum("mk,ktv->mtv", torch.tensor(mixtures).double(), torch.stack(rows))
    picked = torch.tensor(completion)[None, :, None].expand(len(mixtures), -1, 1)
    return mixed.log_softmax(-1).gather(-1, picked)[..., 0]


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
    monkeypatch.setattr(scoring, "_HELD", 2 * VOCABULARY)
    monkeypatch.setattr(scoring, "_CHUNK_OF_MIXTURES", 7)
    torch.testing.assert_close(
        tiny_engine.score(CONTEXTS, COMPLETION, MIXTURES), whole, rtol=1e-4, atol=1e-4
    )


def test_no_more_than_a_bounded_number_of_values_is_mixed_at_once(tiny_engine, monkeypatch):
    held = []
    real = scoring.mix_contexts
    monkeypatch.setattr(scoring, "_HELD", 3 * VOCABULARY)
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
    monkeypatch.setattr(scoring, "_HELD", bound)
    runner = tiny_engine._runner
    steps = list(scoring.score_in_steps(runner, CONTEXTS, COMPLETION, MIXTURES))
    assert max(step.numel() * VOCABULARY for step in steps) == bound - 1
    assert torch.equal(torch.cat(steps, dim=1), whole)
    # Without mixtures there is one pass over the logits, and no need to stop within it.
    steps = list(scoring.score_in_steps(runner, CONTEXTS, COMPLETION))
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
        monkeypatch.setattr(engine._runner._model, "forward", without_token_9)
        scores = engine.score([[5], [6]], [9, 7], [[1.0, 0.0], [2.0, -1.0], [0.5, 0.5]])
    assert scores[:, 0].isneginf().tolist() == [False, True, True]
    assert scores[:, 1].isfinite().all()


@pytest.mark.parametrize(
    ("mixtures", "message"),
    [
        ([], r"mixtures=\[\]: give at least one row"),
        (2.0, "mixtures=2.0: give at least one row"),
        ("ab", "mixtures='ab'"),
        ([1.0, 0.0], r"mixtures\[0\]=1.0: give a row of 2 weights"),
        ([[1.0, 0.0], [1.0]], r"mixtures\[1\] has 1 weights for 2 contexts"),
        ([[1.0, math.nan]], r"mixtures\[0\] holds the weight nan"),
        ([[1.0, 0.0], [math.inf, 0.0]], r"mixtures\[1\] holds the weight inf"),
        ([[1.0, 1e39]], r"mixtures\[0\] holds a weight past 1,000,000 in size"),
        ([[1.0, 0.0], [-(10**400), 0.0]], r"mixtures\[1\] holds a weight past 1,000,000"),
        ([[1.0, "0"]], r"mixtures\[0\] holds the weight '0'"),
        ([[True, 0.0]], r"mixtures\[0\] holds the weight True"),
    ],
)
def test_bad_mixtures_are_refused_before_any_computing(tiny_engine, monkeypatch, mixtures, message):
    monkeypatch.setattr(tiny_engine, "_runner", None)
    with pytest.raises(InvalidRequestError, match=message):
        tiny_engine.score([[5], [6]], [7], mixtures)


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
        append = engine._runner.append

        def seen(cache, pieces, keep=1):
            widths.append(sum(len(piece.ids) for piece in pieces))
            return append(cache, pieces, keep)

        monkeypatch.setattr(engine._runner, "append", seen)
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
