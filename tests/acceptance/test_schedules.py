"""Hundreds of requests that come, go and fail as they please, each as if it were alone."""

from __future__ import annotations

import random

import pytest

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import GenerationError
from tests.support.oracle import slow_greedy
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.acceptance


def random_request(generator: random.Random) -> GenerationRequest:
    contexts = [
        [generator.randrange(2, VOCABULARY) for _ in range(generator.randint(1, 80))]
        for _ in range(generator.randint(1, 4))
    ]
    weights = [generator.uniform(-3, 3) for _ in contexts[1:]]
    return GenerationRequest(
        contexts=contexts,
        weights=[1.0 - sum(weights), *weights],
        sampling=SamplingParams(max_new_tokens=generator.randint(1, 60)),
    )


@pytest.mark.parametrize("seed", range(10))
def test_a_busy_engine(seed):
    generator = random.Random(seed)
    model = tiny_model()
    going, finished = [], []
    with LocalEngine(model, tiny_tokenizer(), max_rows=generator.choice([4, 7, 16])) as engine:
        for _ in range(60):
            request = random_request(generator)
            going.append((request, engine.stream(request), []))
            if generator.random() < 0.2:
                broken = engine.stream(
                    GenerationRequest(contexts=[[5]], policy=lambda rows: rows[0] / 0 * 0)
                )
                with pytest.raises(GenerationError):
                    list(broken)
            for entry in generator.sample(going, min(3, len(going))):
                request, stream, tokens = entry
                for _ in range(generator.randint(0, 12)):
                    step = next(stream, None)
                    if step is None:
                        going.remove(entry)
                        finished.append(entry)
                        break
                    tokens.extend(step.token_ids)
                else:
                    if generator.random() < 0.1:
                        stream.close()
                        going.remove(entry)
        for request, stream, tokens in going:
            tokens.extend(token for step in stream for token in step.token_ids)
            finished.append((request, stream, tokens))
    assert len(finished) > 30
    for request, _, tokens in finished:
        limit = request.sampling.max_new_tokens
        assert tokens == slow_greedy(model, request.contexts, request.weights, limit)
