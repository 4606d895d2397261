"""Numbers described in parts, and classes of characters: grammars compared with `jsonschema`."""

from __future__ import annotations

import json

import jsonschema
import pytest

from amulet_integrations.prompting.json_schema.finished_values import fault_of
from amulet_integrations.prompting.json_schema.schema_to_grammar import enforced_schema, json_rule
from tests.unit.prompting.walks import Walker

WALKER = Walker()
INTEGER, NUMBER = {"type": "integer"}, {"type": "number"}
HALVES = {"$defs": {"p": {**NUMBER, "multipleOf": 0.5}}}


def compared(schema, values):
    """What the grammar wrongly lets through unnoticed, and what it wrongly refuses."""
    enforced = enforced_schema(schema)
    assert not enforced.error
    matcher = WALKER.matcher(f"start: {json_rule(enforced.schema)}")
    valid = jsonschema.Draft202012Validator(schema).is_valid

    def accepts(value):
        text = json.dumps(value, ensure_ascii=False)
        state, ids = matcher.deep_copy(), WALKER.tokenizer(text, add_special_tokens=False).input_ids
        whole = state.validate_tokens(ids) == len(ids) and state.consume_tokens(ids)
        return whole and state.is_accepting()

    accepted = [value for value in values if accepts(value)]
    wrong = [value for value in accepted if not valid(value) and not fault_of(schema, value)]
    return wrong, [value for value in values if valid(value) and value not in accepted]


IN_PARTS = [
    {"allOf": [{**INTEGER, "multipleOf": 3}, {"minimum": 4, "maximum": 20}]},
    {"allOf": [{**INTEGER, "multipleOf": 3}, {"exclusiveMinimum": -20, "maximum": -3}]},
    {"allOf": [{**NUMBER, "multipleOf": 0.5}, {"minimum": -1.5, "exclusiveMaximum": 2}]},
    {"allOf": [INTEGER, {"multipleOf": 2}, {"allOf": [{"multipleOf": 3}, {"minimum": 1}]}]},
    {**NUMBER, "allOf": [{"multipleOf": 5}]},
    {**NUMBER, "anyOf": [{"multipleOf": 3}, {"multipleOf": 5}]},
    {**NUMBER, "anyOf": [{"multipleOf": 3}, {"minimum": 2.5}]},
    {**NUMBER, "oneOf": [{"multipleOf": 3, "maximum": 0}, {"multipleOf": 5, "minimum": 1}]},
    {**NUMBER, "multipleOf": 2, "anyOf": [{"multipleOf": 3}, {"multipleOf": 5}]},
    {"$ref": "#/$defs/p", **NUMBER, "minimum": 1, **HALVES},
    {"$ref": "#/$defs/p", "multipleOf": 1.5, **HALVES},
    {"allOf": [{"$ref": "#/$defs/p"}, {"multipleOf": 3}], **HALVES},
    {"items": {"allOf": [{**INTEGER, "multipleOf": 3}, {"minimum": 4}]}},
    {"type": ["integer", "null"], "multipleOf": 3, "allOf": [{"maximum": 9}]},
    {**NUMBER, "minimum": 0, "if": {"minimum": 10}, "then": {"multipleOf": 5}},
]


@pytest.mark.parametrize("schema", IN_PARTS, ids=range(len(IN_PARTS)))
def test_numbers_described_in_parts_are_those_of_all_parts(schema):
    numbers = [*range(-21, 22), *(part / 4 for part in range(-9, 10) if part % 4)]
    assert compared(schema, [*numbers, *([number] for number in numbers)]) == ([], [])


def test_large_steps_are_combined():
    schema = {"allOf": [{"multipleOf": 100_000}, {"multipleOf": 50_000}, INTEGER]}
    assert compared(schema, [step * 50_000 for step in range(-5, 6)]) == ([], [])


def test_a_step_that_no_grammar_can_read_is_checked():
    schema = {**NUMBER, "multipleOf": 0.07}
    enforced = enforced_schema(schema)
    assert not enforced.error
    assert [str(it) for it in enforced.unenforced] == ["'multipleOf' at #"]
    assert [bool(fault_of(schema, value)) for value in (0.14, 0.15)] == [False, True]


BOUNDS = [(0, 0.5), (2, 2.5), (-2.5, -2), (-0.5, 0), (0, 1), (-1, 1), (0.25, 0.5), (0, 1e-9)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_a_bound_that_is_excluded_is_never_written(bounds):
    lower, upper = bounds
    schema = {**NUMBER, "exclusiveMinimum": lower, "exclusiveMaximum": upper}
    assert compared(schema, [lower, upper, (lower + upper) / 2 if upper > 1e-8 else lower]) == (
        [],
        [],
    )


# Each class leaves out a quote, a backslash or a letter that some readers count as one.
CLASSES = [
    *(
        '[^"]',
        r"[^\\]",
        r"[^\"\\]",
        r"[^\n\"]",
        r"[^\x22]",
        r"[\x00-!]",
        r"[\x00-\x1f]",
        r"[\x01-a]",
    ),
    *(r"\W", r"\D", r"[^\w]", r"[^\d\"]", r"[\W_]", r"[\D]", r"\P{P}", r"\PP", r"\p{C}"),
    *('[]"]', r"[^\[\"\]]", '[[^"]&&[^a]]', r"(?:\x01|a)", "(?:\x00|[^b])", ".", r"\S", r"[\s\S]"),
]
CHARACTERS = [*'"\\\b\n\t azZ09_-[]{}/', *"é青٣Ⓐ😀\u200d"]
# Python's `re` has no properties and no sets in sets.
MATCHED = {
    r"\P{P}": '[^"\\\\/_{}\\[\\]-]',
    r"\PP": '[^"\\\\/_{}\\[\\]-]',
    r"\p{C}": "[\b\n\t\u200d]",
}
MATCHED['[[^"]&&[^a]]'] = '[^"a]'


@pytest.mark.parametrize("of_class", CLASSES, ids=ascii)
def test_classes_of_characters_match_what_they_say(of_class):
    for pattern in ("^{}$", "^{}{{2}}$", "x{}y"):
        schema = {"type": "string", "pattern": pattern.format(of_class)}
        again = {"type": "string", "pattern": pattern.format(MATCHED.get(of_class, of_class))}
        texts = [text for one in CHARACTERS for text in (one, one * 2, f"x{one}y")]
        enforced = enforced_schema(schema)
        assert not enforced.error
        assert not enforced.unenforced
        grammar = f"start: {json_rule(enforced.schema)}"
        found, valid = matched(grammar, texts), valid_texts(again, texts)
        assert found <= valid
        assert {text for text in valid if text.isascii() and text.isprintable()} <= found


def matched(grammar, texts):
    matcher, found = WALKER.matcher(grammar), set()
    for text in texts:
        written = json.dumps(text, ensure_ascii=False)
        ids = WALKER.tokenizer(written, add_special_tokens=False).input_ids
        state = matcher.deep_copy()
        if state.validate_tokens(ids) == len(ids) and state.consume_tokens(ids):
            found |= {text} if state.is_accepting() else set()
    return found


def valid_texts(schema, texts):
    return set(filter(jsonschema.Draft202012Validator(schema).is_valid, texts))


@pytest.mark.parametrize("bound", [10**400, -(10**400)], ids=["above", "below"])
@pytest.mark.parametrize("key", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
def test_bounds_beyond_all_floats_are_read(key, bound):
    holds_for_some = bound < 0 if "inimum" in key else bound > 0
    assert bool(enforced_schema({"type": "number", key: bound}).error) is not holds_for_some


NO_QUOTE = '^[^"]*$'
TEXT = {"type": "string", "pattern": NO_QUOTE}
PLACES = [
    {"type": "object", "patternProperties": {NO_QUOTE: INTEGER}, "additionalProperties": TEXT},
    {"type": "object", "patternProperties": {NO_QUOTE: INTEGER}, "additionalProperties": False},
    {"type": "object", "patternProperties": {r"^\W$": INTEGER}, "additionalProperties": TEXT},
    {"type": "object", "propertyNames": {"pattern": NO_QUOTE}, "additionalProperties": INTEGER},
    {
        "type": "object",
        "additionalProperties": INTEGER,
        "$defs": {"s": TEXT},
        "propertyNames": {"$ref": "#/$defs/s"},
    },
    {"items": {"$ref": "#/$defs/s"}, "$defs": {"s": TEXT}},
    {"type": "string", "allOf": [{"pattern": NO_QUOTE}, {"pattern": r"^[^\\]*$"}]},
    {"type": "string", "anyOf": [{"pattern": NO_QUOTE}, {"pattern": r"^[^\\]*$"}]},
    {"type": "string", "pattern": r"^\x01[^\"]$"},
]


@pytest.mark.parametrize("schema", PLACES, ids=range(len(PLACES)))
def test_patterns_mean_the_same_in_every_place(schema):
    texts = ['"', "\\", "a", 'a"', "a\\", "é", "1"]
    values = [*texts, *([text] for text in texts), *({text: 1} for text in texts)]
    wrong, refused = compared(schema, [*values, *({text: "x"} for text in texts)])
    assert wrong == []
    assert not [value for value in refused if isinstance(value, str)]


def hard(length):
    return {"type": "string", "pattern": f"(a|b)*a(a|b){{{length}}}"}


# In each, one text has thirteen patterns, with which llguidance alone would be busy for seconds.
HARD = [hard(length) for length in range(13)]
MANY_PATTERNS = {
    "allOf": {"allOf": HARD},
    "alternatives": {"allOf": [{"anyOf": [it, {"pattern": "b"}]} for it in HARD]},
    "pairs": {"oneOf": [{"allOf": HARD[:7]}, {"allOf": HARD[6:]}]},
    "references": {
        "allOf": [{"$ref": f"#/$defs/{number}"} for number in range(13)],
        "$defs": {str(number): it for number, it in enumerate(HARD)},
    },
    "property": {"allOf": [{"properties": {"x": it}} for it in HARD]},
    "items": {"allOf": [{"items": it} for it in HARD]},
    "enum": {"enum": ["a", "b" * 12 + "a"], "allOf": HARD},
}


@pytest.mark.parametrize("schema", MANY_PATTERNS.values(), ids=MANY_PATTERNS)
def test_many_patterns_of_one_text_are_left_to_the_check(schema):
    enforced = enforced_schema(schema)
    assert not enforced.error
    assert "pattern" in {it.keyword for it in enforced.unenforced}
    valid = jsonschema.Draft202012Validator(schema).is_valid
    for text in ("a" * 20, "b" * 20, "b" * 12 + "a"):
        for value in (text, {"x": text}, [text]):
            assert bool(fault_of(schema, value)) is not valid(value)


def test_patterns_of_many_texts_are_enforced():
    texts = {f"p{number}": hard(number) for number in range(30)}
    apart = {"type": "object", "properties": texts, "anyOf": [{"required": [it]} for it in texts]}
    assert not enforced_schema(apart).unenforced


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [hard(2)] * 20},
        {"allOf": [{"anyOf": [hard(2), hard(3)]}] * 20},
        {"allOf": [{"$ref": "#/$defs/p"}] * 20, "$defs": {"p": hard(2)}},
        {"allOf": [{"format": "date"}, {"pattern": "1$"}] * 10, "type": "string"},
    ],
)
def test_a_pattern_that_is_given_many_times_counts_once(schema):
    assert not enforced_schema(schema).unenforced


def test_an_alternative_of_few_patterns_counts_beside_others():
    """Not only that of most patterns: together with the rest it may have more."""
    wide, narrow = {"allOf": HARD[:8]}, {"allOf": [{"pattern": "x"}, {"pattern": "y"}]}
    assert enforced_schema({"allOf": [{"anyOf": [wide, narrow]}, wide]}).unenforced


def test_names_of_two_patterns_that_grammars_write_alike_are_checked():
    patterns = {r"^\D$": {"type": "string"}, r"^[^\p{Nd}]$": {"minLength": 2}}
    schema = {"type": "object", "patternProperties": patterns, "additionalProperties": False}
    assert [str(it) for it in enforced_schema(schema).unenforced] == ["'patternProperties' at #"]
    assert [bool(fault_of(schema, {"a": text})) for text in ("x", "xx")] == [True, False]


@pytest.mark.parametrize("step", [4294967291, 999983, 1048576, 0.99991, 99991e3])
def test_a_step_of_many_digits_is_left_to_the_check(step):
    """An automaton of its multiples has as many states; it took minutes and could not be left."""
    assert "multipleOf" not in str(enforced_schema({"type": "integer", "multipleOf": step}).schema)
    assert fault_of({"type": "integer", "multipleOf": step}, 7)
