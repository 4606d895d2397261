"""A reasoning model thinks first; what follows still keeps to its grammar and its tokens."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, OutputAlternative
from tests.support.tiny import tiny_model, tiny_tokenizer

END = "</think>"
DIGITS = '{"digits": ["7"]}'
GRAMMAR = 'start: "{\\"digits\\": [" NUMBER ("," NUMBER)* "]}"\nNUMBER: /"[0-9]"/'


def engine_with(end: AddedToken | None) -> LocalEngine:
    tokenizer = tiny_tokenizer()
    if end is not None:
        tokenizer.add_tokens([end])
    return LocalEngine(tiny_model(), tokenizer)


@pytest.fixture(
    scope="module",
    params=[None, AddedToken(END), AddedToken(END, special=True)],
    ids=["spelled", "added", "special"],
)
def engine(request) -> LocalEngine:
    return engine_with(request.param)


def answers(engine: LocalEngine, tokens: int, seeds: range) -> list[tuple[str, str, int]]:
    requests = [
        GenerationRequest(
            contexts=[[3, 4, 5 + seed]],
            alternatives=[OutputAlternative(grammar=GRAMMAR)],
            thoughts_end=END,
            skip_special_tokens=False,
            sampling=SamplingParams(max_new_tokens=tokens, temperature=1.0, seed=seed),
        )
        for seed in seeds
    ]
    results = engine.generate(requests)
    for result in results:
        assert result.finish_reason == "stop"
        assert len(result.token_ids) <= tokens
    return [
        (*result.text.partition(END)[::2], tokens_of_thoughts(engine, result.token_ids))
        for result in results
    ]


def tokens_of_thoughts(engine: LocalEngine, ids: list[int]) -> int:
    """How many tokens it took until the end of the thoughts was written."""
    return next(count for count in range(len(ids)) if END in engine.tokenizer.decode(ids[:count]))


def test_the_answer_keeps_to_the_grammar_however_long_the_thoughts_are(engine):
    for thoughts, answer, _ in answers(engine, 120, range(8)):
        assert thoughts
        assert answer.startswith("\n")
        assert json.loads(answer)["digits"]


def test_thoughts_leave_half_of_the_tokens_to_the_answer(engine):
    for _, _, length in answers(engine, 160, range(8)):
        assert length <= 80


def test_a_model_that_ends_its_thoughts_is_not_held_up():
    engine = engine_with(AddedToken(END))
    lengths = [length for _, _, length in answers(engine, 500, range(12))]
    # The random model draws the end now and then; the others are stopped at half of the tokens.
    assert min(lengths) < 200 < max(lengths) <= 250


def test_no_end_of_text_within_thoughts(engine):
    request = GenerationRequest(
        contexts=[[3, 4, 5]],
        alternatives=[OutputAlternative(grammar=GRAMMAR)],
        thoughts_end=END,
        sampling=SamplingParams(max_new_tokens=300, temperature=5.0, seed=1),
    )
    (result,) = engine.generate([request])
    assert engine.tokenizer.eos_token_id not in result.token_ids[:-1]
    assert json.loads(result.text.rpartition("\n")[2])["digits"]


def test_thoughts_are_drawn_with_the_requests_weights_and_the_answer_with_the_alternatives(engine):
    def text(deciding: tuple[float, float], own: tuple[float, float]) -> str:
        request = GenerationRequest(
            contexts=[[3, 4, 5], [9, 8, 7, 6]],
            weights=deciding,
            alternatives=[OutputAlternative(grammar=GRAMMAR, weights=own)],
            thoughts_end=END,
            skip_special_tokens=False,
            sampling=SamplingParams(max_new_tokens=100),
        )
        return engine.generate([request])[0].text

    thoughts, _, _ = text((1, 0), (-1, 2)).partition(END)
    assert thoughts == text((1, 0), (1, 0)).partition(END)[0]
    assert thoughts != text((0, 1), (1, 0)).partition(END)[0]
