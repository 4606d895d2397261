"""At the limits of grammar, tokens and vocabulary, no output that was cut counts as whole."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import AddedToken

from amulet_integrations import SamplingParams
from amulet_integrations.engine import (
    GenerationRequest,
    GenerationResult,
    LocalEngine,
    OutputAlternative,
)
from amulet_integrations.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    UnsupportedGrammarError,
    UnsupportedModelError,
)
from tests.support.schemas import schema_grammar
from tests.support.tiny import CONTEXT_WINDOW, tiny_model, tiny_tokenizer

NAMES = {
    "type": "object",
    "properties": {
        "first": {"type": "string", "minLength": 1},
        "last": {"type": "string", "minLength": 1},
    },
    "required": ["first", "last"],
    "additionalProperties": False,
}
TEXT = "start: /(.|\\n)*/"


def make_request(grammar: str, **changes) -> GenerationRequest:
    sampling = changes.pop("sampling", SamplingParams(max_new_tokens=60, temperature=1.0, seed=1))
    given = {
        "contexts": [[3, 4, 5]],
        "alternatives": [OutputAlternative(grammar=grammar)],
        **changes,
    }
    return GenerationRequest(sampling=sampling, **given)


def test_a_grammar_that_outgrows_llguidance_fails_and_is_never_whole(tiny_engine):
    many = {f"p{number}": {"type": "integer"} for number in range(520)}
    wide = {"type": "object", "properties": many, "additionalProperties": False}
    items = {"anyOf": [{"type": "boolean"}, wide]}
    grammar = schema_grammar({"type": "array", "items": items, "minItems": 3})
    requests = [
        make_request(
            grammar,
            contexts=[[0, 5 + seed]],
            sampling=SamplingParams(max_new_tokens=80, temperature=1.0, seed=seed),
        )
        for seed in range(8)
    ]
    outcomes = tiny_engine.generate(requests, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, GenerationResult):
            assert len(json.loads(outcome.text)) >= 3
    failed = [outcome for outcome in outcomes if not isinstance(outcome, GenerationResult)]
    assert failed
    for failure in failed:
        assert isinstance(failure, GenerationError)
        assert "Simplify the schema" in str(failure)


def test_llguidances_own_reason_is_in_the_message(tiny_engine):
    many = {f"p{number}": {"type": "integer"} for number in range(1000)}
    with pytest.raises(UnsupportedGrammarError, match="items; max is 2000"):
        tiny_engine.generate([make_request(schema_grammar({"type": "object", "properties": many}))])
    with pytest.raises(UnsupportedGrammarError, match="look-around"):
        tiny_engine.generate(
            [make_request(schema_grammar({"type": "string", "pattern": "(?=a)b"}))]
        )


@pytest.mark.parametrize("tokens", range(10, 30, 3))
def test_thoughts_for_which_there_is_no_room_are_left_out(tokens):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    engine = LocalEngine(tiny_model(), tokenizer)
    grammar = schema_grammar(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    thinking = {"thoughts_end": "</think>", "thoughts_begin": "<think>"}
    sampling = SamplingParams(max_new_tokens=tokens, temperature=1.0, seed=tokens)
    (result,) = engine.generate([make_request(grammar, sampling=sampling, **thinking)])
    assert json.loads(result.text.rpartition("</think>")[2])["a"] is not None
    assert ("</think>" in result.text) == ("<think>" in result.text)


def test_thoughts_that_the_prompt_opened_count_in_the_room_that_is_needed(tiny_engine):
    grammar = schema_grammar({"enum": ["a"]})
    enough = SamplingParams(max_new_tokens=40)
    (result,) = tiny_engine.generate(
        [make_request(grammar, sampling=enough, thoughts_end="</think>")]
    )
    assert result.text.endswith('"a"')
    # The JSON alone would fit.
    few = SamplingParams(max_new_tokens=5)
    tiny_engine.generate([make_request(grammar, sampling=few)])
    with pytest.raises(InvalidRequestError, match="room for 0 tokens"):
        tiny_engine.generate([make_request(grammar, sampling=few, thoughts_end="</think>")])


def test_a_token_that_begins_thoughts_does_so_even_where_text_could_hold_it():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    (begin,) = tokenizer.encode("<think>", add_special_tokens=False)
    model = tiny_model()
    # This model begins every answer with thoughts.
    with torch.no_grad():
        model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.lm_head.weight.shape[0]))
        model.lm_head.bias[begin] = 1e4
    engine = LocalEngine(model, tokenizer)
    request = GenerationRequest(
        contexts=[[3, 4, 5], [6, 7, 8]],
        weights=(1.0, 0.0),
        alternatives=[
            OutputAlternative(grammar='start: "call!"', weights=(1.0, 0.0)),
            OutputAlternative(
                grammar=f"start: (/(.|\\n)*/ <[{begin}]>)* /(.|\\n)*/", weights=(-1.0, 2.0)
            ),
        ],
        thoughts_begin="<think>",
        thoughts_end="</think>",
        skip_special_tokens=False,
        sampling=SamplingParams(max_new_tokens=40),
    )
    (result,) = engine.generate([request])
    assert result.text.startswith("<think>")
    assert "</think>" in result.text


def test_a_context_that_leaves_no_room_for_a_call_is_refused_and_not_answered_in_text(tiny_engine):
    calls = OutputAlternative(grammar=f'start: "{"x" * 200}"', weights=(1.0, 0.0))
    text = OutputAlternative(grammar=TEXT, weights=(-1.0, 2.0))

    def request(length: int, tokens: int) -> GenerationRequest:
        return GenerationRequest(
            contexts=[[3, 4, 5], [3] * length],
            weights=(1.0, 0.0),
            alternatives=[calls, text],
            sampling=SamplingParams(max_new_tokens=tokens),
        )

    with pytest.raises(ContextLengthError, match="leave room for 20 tokens"):
        tiny_engine.generate([request(CONTEXT_WINDOW - 20, 400)])
    # Few tokens are the caller's own wish: no call fits, so the answer is text.
    (result,) = tiny_engine.generate([request(10, 4)])
    assert len(result.token_ids) <= 4


def test_what_was_closed_early_is_reported_and_nothing_is_put_at_its_end(tiny_engine):
    grammar = schema_grammar(NAMES)
    shortest = _shortest(tiny_engine, grammar)
    shortened = []
    for tokens in (shortest, shortest + 6, shortest + 40, 500):
        for seed in range(4):
            sampling = SamplingParams(max_new_tokens=tokens, temperature=1.0, seed=seed)
            (result,) = tiny_engine.generate([make_request(grammar, sampling=sampling)])
            (free,) = tiny_engine.generate(
                [
                    make_request(
                        grammar, sampling=sampling.model_copy(update={"max_new_tokens": 600})
                    )
                ]
            )
            first, wanted = json.loads(result.text)["first"], json.loads(free.text)["first"]
            if len(first) > 1:
                assert wanted.startswith(first)  # no filler was added to what the model wrote
            if not result.shortened:
                assert result.text == free.text
            shortened.append(result.shortened)
    assert True in shortened
    assert False in shortened


def _shortest(engine: LocalEngine, grammar: str) -> int:
    with pytest.raises(InvalidRequestError) as caught:
        engine.generate([make_request(grammar, sampling=SamplingParams(max_new_tokens=1))])
    return int(str(caught.value).split(" has ")[1].split(".")[0])


@pytest.mark.parametrize("least", [0, 3])
@pytest.mark.parametrize(
    "alternatives", [(), (OutputAlternative(grammar=TEXT),)], ids=["free", "constrained"]
)
def test_end_tokens_and_embeddings_past_the_logits_do_no_harm(least, alternatives):
    model = tiny_model()
    model.lm_head = torch.nn.Linear(model.config.hidden_size, 400, bias=False)
    model.generation_config.eos_token_id = [1, 7, 600]
    engine = LocalEngine(model, tiny_tokenizer())
    sampling = SamplingParams(max_new_tokens=6, min_new_tokens=least, temperature=1.0, seed=3)
    request = GenerationRequest(contexts=[[0, 5]], alternatives=alternatives, sampling=sampling)
    (result,) = engine.generate([request])
    assert len(result.token_ids) >= max(least, 1)


def test_a_model_that_can_end_no_text_is_refused():
    tokenizer, model = tiny_tokenizer(None), tiny_model()
    tokenizer.eos_token = model.generation_config.eos_token_id = None
    with pytest.raises(UnsupportedModelError, match="no token that ends a text"):
        LocalEngine(model, tokenizer).generate([make_request(TEXT)])
