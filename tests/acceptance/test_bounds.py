"""The bound holds at every token, whatever the strength: many requests, and what they cost."""

from __future__ import annotations

import random
import sys
from statistics import fmean

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.decoding import preference_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.golden import needs_questions, paper_questions
from tests.support.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.acceptance

REQUESTS = 1000
TOKENS = 8
CLOSE = 1e-3  # nats
ANSWERS = 100
PREFERENCES = ("Answer in one short sentence.", "Answer like a friendly pirate.", "Be formal.")


def a_request(draw: random.Random) -> GenerationRequest:
    """Contexts, strength, bound and weights of preferences drawn at random."""
    preferences = draw.choice((1, 1, 2, 3))
    own = [draw.choice((1.0, draw.uniform(-1.0, 1.0))) for _ in range(preferences)]
    contexts = [
        [draw.randrange(2, 512) for _ in range(draw.randrange(2, 12))]
        for _ in range(preferences + 1)
    ]
    return GenerationRequest(
        contexts=contexts,
        weights=preference_weights(draw.uniform(-3.0, 20.0), own),
        reference_weights=preference_weights(1.0, own),
        max_kl=draw.uniform(0.02, 0.3),
        logprobs=20,
        sampling=SamplingParams(
            max_new_tokens=TOKENS, temperature=draw.choice((0.0, 1.0)), seed=draw.randrange(9)
        ),
    )


def test_no_token_is_drawn_from_past_the_bound() -> None:
    """By float64 from the model's own logits, with the fraction that the engine tells."""
    draw = random.Random(0)
    requests = [a_request(draw) for _ in range(REQUESTS)]
    model = tiny_model()
    with LocalEngine(model, tiny_tokenizer()) as engine:
        results = engine.generate(requests)
    held = 0
    for request, result in zip(requests, results, strict=True):
        first = torch.tensor(request.reference_weights, dtype=torch.float64)
        last = torch.tensor(request.weights, dtype=torch.float64)
        rows = []
        for ids in request.contexts:
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *result.token_ids]])).logits[0].double()
            rows.append(logits[len(ids) - 1 : -1].log_softmax(-1))
        for at, fraction in enumerate(result.guidance_fractions):
            here = torch.stack([row[at] for row in rows])
            reference = (first @ here).log_softmax(-1)
            policy = ((first + fraction * (last - first)) @ here).log_softmax(-1)
            divergence = float((policy.exp() * (policy - reference)).sum())
            assert divergence <= request.max_kl + CLOSE
            if fraction < 1.0:
                held += 1
                assert divergence >= request.max_kl - CLOSE
            # What is told of the policy is this policy.
            for told in result.logprobs[at].top:
                assert told.logprob == pytest.approx(float(policy[told.token_id]), abs=5e-3)
    assert held > REQUESTS


@pytest.mark.model
@needs_questions
def test_answers_stay_likely_at_any_strength() -> None:
    """The mean of -log P(token | preference) of 100 answers is within 0.3 nats of pref's."""
    draw = random.Random(1)
    with LocalEngine.from_pretrained(dtype="float32") as engine:
        prompts = PromptBuilder(engine.tokenizer)
        pairs = [
            prompts.contexts(
                [ChatMessage(role="user", content=question)], [None, draw.choice(PREFERENCES)]
            )
            for question in paper_questions()[:ANSWERS]
        ]

        def cost(requests: list[GenerationRequest]) -> float:
            """Nats a token under the preference, on the mean over answers."""
            costs = []
            for request, result in zip(requests, engine.generate(requests), strict=True):
                scored = engine.score(request.contexts, result.token_ids)
                costs.append(-float(scored[1].mean()))
            return fmean(costs)

        sampling = SamplingParams(max_new_tokens=48, min_new_tokens=1)
        by_pref = cost(
            [GenerationRequest(contexts=p, weights=(0, 1), sampling=sampling) for p in pairs]
        )
        guided = []
        for pair in pairs:
            scale = draw.uniform(1.0, 20.0)
            guided.append(
                GenerationRequest(
                    contexts=pair,
                    weights=(1.0 - scale, scale),
                    max_kl=draw.uniform(0.02, 0.3),
                    sampling=sampling,
                )
            )
        by_guidance = cost(guided)
    told = f"{by_pref:.3f} nats a token by pref, {by_guidance:.3f} at random strengths and bounds\n"
    sys.stdout.write(told)
    assert by_guidance <= by_pref + 0.3
