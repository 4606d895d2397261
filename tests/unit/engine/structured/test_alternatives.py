"""What is constrained is whole: valid, closed within its tokens, and refused where it cannot be."""

from __future__ import annotations

import json
import random
import re

import pytest
from jsonschema import Draft202012Validator

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import (
    AmuletError,
    GenerationError,
    InvalidRequestError,
    UnsupportedGrammarError,
    UnsupportedModelError,
)
from tests.support.schemas import random_schema, schema_grammar
from tests.support.tiny import tiny_model, tiny_tokenizer

CONTEXTS = ((5, 6, 7), (8, 9))
FULL_STRENGTH = (-4.6487, 5.6487)
WORD = {"type": "string", "minLength": 1}
LATE_CALL = """
start: text call?
text: /([^<]|\\n)*/
call: "<call>" body "</call>"
body: %json {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
    "additionalProperties": false}
"""


def make_request(grammar, tokens, seed=0, weights=(0.5, 0.5), **changes):
    """A request for what a grammar describes, at temperature 1."""
    alternative = changes.pop("alternative", {})
    sampling = {"max_new_tokens": tokens, "temperature": 1.0, "seed": seed}
    return GenerationRequest(
        contexts=CONTEXTS,
        weights=weights,
        alternatives=[OutputAlternative(grammar=grammar, **alternative)],
        sampling=SamplingParams(**(sampling | changes.pop("sampling", {}))),
        **changes,
    )


def written(engine, schema, tokens=80, seed=0, **changes):
    (result,) = engine.generate([make_request(schema_grammar(schema), tokens, seed, **changes)])
    assert result.finish_reason == "stop"
    assert len(result.token_ids) <= tokens
    value = json.loads(result.text)
    Draft202012Validator(schema).validate(value)
    return value


def shortest(engine, grammar):
    """The smallest budget that is accepted, from the error about a smaller one."""
    with pytest.raises(InvalidRequestError, match="There is room for 1 tokens") as caught:
        engine.stream(make_request(grammar, 1))
    return int(re.search(r"has (\d+)\.", str(caught.value))[1])


@pytest.mark.parametrize("part", range(4))
def test_random_schemas_at_full_strength_within_any_budget(tiny_engine, part):
    rng = random.Random(part)
    requests, schemas = [], []
    for seed in range(10 * part, 10 * part + 10):
        schema = random_schema(random.Random(seed))
        grammar = schema_grammar(schema)
        least = shortest(tiny_engine, grammar)
        steered = {"weights": (0.0, 1.0), "string_weights": FULL_STRENGTH}
        for tokens in (least, least + rng.randint(1, 9), least + rng.randint(20, 90)):
            requests.append(make_request(grammar, tokens, seed, FULL_STRENGTH, alternative=steered))
            schemas.append(schema)
        with pytest.raises(InvalidRequestError, match=rf"room for {least - 1} .* has {least}"):
            tiny_engine.generate([make_request(grammar, least - 1)])
    for request, schema, result in zip(
        requests, schemas, tiny_engine.generate(requests), strict=True
    ):
        Draft202012Validator(schema).validate(json.loads(result.text))
        assert result.finish_reason == "stop"
        assert len(result.token_ids) <= request.sampling.max_new_tokens


def test_a_budget_too_small_is_refused_before_anything_is_computed(monkeypatch):
    model = tiny_model()
    with LocalEngine(model, tiny_tokenizer()) as engine:
        monkeypatch.setattr(model, "forward", None)  # cannot be called
        for call in (engine.stream, lambda request: engine.generate([request])):
            with pytest.raises(InvalidRequestError, match="room for 3 tokens"):
                call(make_request(schema_grammar({"const": "a long text"}), 3))


async def test_asyncio_raises_the_same(tiny_engine):
    for grammar, error in ((schema_grammar({"const": "long text"}), InvalidRequestError),
                           ("start: [", UnsupportedGrammarError)):  # fmt: skip
        with pytest.raises(error):
            await tiny_engine.agenerate([make_request(grammar, 3)])
        with pytest.raises(error):
            [_ async for _ in tiny_engine.astream(make_request(grammar, 3))]


def test_the_context_window_is_a_budget_too(tiny_engine):
    long = GenerationRequest(
        contexts=[[5] * (tiny_engine.context_window - 20)],
        alternatives=[
            OutputAlternative(
                grammar=schema_grammar({"type": "array", "items": WORD, "minItems": 2})
            )
        ],
        sampling=SamplingParams(temperature=1.0, seed=1),
    )
    (result,) = tiny_engine.generate([long])
    assert len(json.loads(result.text)) >= 2
    assert len(result.token_ids) <= 20


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "number", "exclusiveMinimum": 0.5, "exclusiveMaximum": 0.51},
        {"type": "integer", "multipleOf": 1000, "minimum": 1},
        {"type": "integer", "multipleOf": 7, "minimum": 30, "maximum": 40},
        {"type": "integer", "minimum": -5, "exclusiveMaximum": -3},
        {"anyOf": [{"type": "string", "minLength": 300}, {"type": "null"}]},
        {"type": "array", "items": {"type": "array", "items": WORD, "minItems": 2}, "minItems": 2},
        {"enum": ['a "quoted" \\ word', "tab\tand\nline", "\u0001", "ß漢😀"]},
        {"type": "object", "properties": {'a"b\\c': {"type": "string"}}, "required": ['a"b\\c']},
        {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        {"type": "string", "format": "date-time"},
        {"type": "object"},
        {},
    ],
    ids=str,
)
def test_what_is_hard_to_close(tiny_engine, schema):
    for seed in range(4):
        written(tiny_engine, schema, seed=seed)


def test_recursive_schemas_end(tiny_engine):
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "branches": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                    "name": WORD,
                },
                "required": ["branches", "name"],
                "additionalProperties": False,
            }
        },
    }
    depths = {str(written(tiny_engine, tree, 200, seed)).count("name") for seed in range(6)}
    assert max(depths) > 1
    nest = {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "object"}]}
    for seed in range(4):
        written(tiny_engine, nest, 60, seed)


def test_texts_are_unicode_through_and_through(tiny_engine):
    schema = {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 3}
    texts = [text for seed in range(12) for text in written(tiny_engine, schema, 120, seed)]
    letters = {letter for text in texts for letter in text}
    assert {letter for letter in letters if ord(letter) > 0xFFFF}
    assert letters & set('"\\\n\t')  # escaped, then
    assert not any(0xD800 <= ord(letter) < 0xE000 for letter in letters)
    assert all(len(text) >= 8 for text in texts)


ENDLESS = {
    "type": "object",
    "properties": {"again": {"$ref": "#"}},
    "required": ["again"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        pytest.param(
            schema_grammar(ENDLESS), "needs itself", id="endless", marks=pytest.mark.acceptance
        ),
        (schema_grammar({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (schema_grammar({"type": "string", "not": {"const": "a"}}), "not"),
        (schema_grammar({"type": "integer", "minimum": 5, "maximum": 4}), "minimum"),
        (schema_grammar({"type": "string", "pattern": "(?=a)b"}), "cannot be enforced"),
        ("start: [", "cannot be enforced"),
        ("no grammar at all", "cannot be enforced"),
    ],
)
def test_what_cannot_be_enforced_is_refused_at_submission(tiny_engine, grammar, message):
    for _ in range(2):  # what is remembered is refused as well
        with pytest.raises(UnsupportedGrammarError, match=message) as caught:
            tiny_engine.stream(make_request(grammar, 50))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AmuletError)


def test_a_tokenizer_that_cannot_be_read_is_refused_at_submission():
    class Slow:
        """Knows as much as unconstrained decoding needs."""

        eos_token_id = 1

        def decode(self, ids, **_options):
            return "".join(map(chr, ids))

    with LocalEngine(tiny_model(), Slow()) as engine:
        with pytest.raises(UnsupportedModelError, match="fast tokenizer"):
            engine.stream(make_request(schema_grammar({}), 50))
        free = GenerationRequest(contexts=[[5]], sampling=SamplingParams(max_new_tokens=3))
        assert len(engine.generate([free])[0].token_ids) == 3


def test_an_empty_grammar_and_odd_weights_are_refused():
    with pytest.raises(InvalidRequestError, match="grammar"):
        OutputAlternative(grammar="")
    for weights in ({"weights": (1.0,)}, {"string_weights": (1.0, 1.0)}):
        with pytest.raises(InvalidRequestError, match=r"1 weights for 2|add up to 2"):
            make_request("start: /a/", 5, alternative=weights)
    with pytest.raises(InvalidRequestError, match="not both"):
        GenerationRequest(
            contexts=[[5]], policy=len, alternatives=[OutputAlternative(grammar="start: /a/")]
        )


@pytest.mark.parametrize("tokens", [4, 12, 19, 24, 32, 48])
def test_a_call_that_begins_late_is_finished_or_not_begun(tiny_engine, tokens):
    requests = [make_request(LATE_CALL, tokens, seed) for seed in range(40)]
    results = tiny_engine.generate(requests)
    calls = [result for result in results if "<" in result.text]
    for result in calls:
        _, _, call = result.text.partition("<call>")
        body, closing, rest = call.partition("</call>")
        assert closing
        assert not rest
        assert json.loads(body)["a"] is not None
        assert result.finish_reason == "stop"
    assert all(len(result.token_ids) <= tokens for result in results)
    # Prose that was cut says so, whatever its characters were made of.
    cut = [result for result in results if result not in calls and len(result.token_ids) == tokens]
    assert {result.finish_reason for result in cut} <= {"length"}
    assert bool(calls) == (tokens >= 24)


def test_free_text_that_is_cut_says_so(tiny_engine):
    requests = [make_request(r"start: /(.|\n)*/", 40, seed) for seed in range(12)]
    results = tiny_engine.generate(requests)
    full = [result for result in results if len(result.token_ids) == 40]
    assert any(ord(letter) > 0xFF for result in full for letter in result.text)
    assert {result.finish_reason for result in full} == {"length"}
    assert not any("\N{REPLACEMENT CHARACTER}" in result.text for result in results)


def test_stop_strings_leave_json_alone(tiny_engine):
    schema = {
        "type": "object",
        "properties": {"a": WORD, "b": {"type": "array", "items": WORD}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    for seed in range(6):
        plain = written(tiny_engine, schema, seed=seed)
        stops = {"stop": ["}", '"', "a", "]", plain["a"][:1]]}
        assert written(tiny_engine, schema, seed=seed, sampling=stops) == plain


def test_stop_strings_cut_text_beside_grammars(tiny_engine):
    grammar = r"start: /(.|\n)*/"
    (free,) = tiny_engine.generate([make_request(grammar, 30, 3)])
    for start in (4, 9, 15):
        stop = free.text[start : start + 3]
        (cut,) = tiny_engine.generate([make_request(grammar, 30, 3, sampling={"stop": [stop]})])
        assert cut.text == free.text[: free.text.index(stop)]
        assert cut.finish_reason == "stop"


def test_what_has_no_more_to_say_ends_without_an_end_token(tiny_engine):
    (result,) = tiny_engine.generate([make_request(schema_grammar({"const": 12}), 50)])
    assert result.text == "12"
    assert not set(result.token_ids) & tiny_engine.end_ids


def test_text_and_tokens_agree_when_streamed(tiny_engine):
    request = make_request(schema_grammar(random_schema(random.Random(11))), 200, 4)
    steps = list(tiny_engine.stream(request))
    (whole,) = tiny_engine.generate([request])
    assert "".join(step.text for step in steps) == whole.text
    assert [token for step in steps for token in step.token_ids] == whole.token_ids
    assert not any(isinstance(step, GenerationError) for step in steps)
