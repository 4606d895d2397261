"""Schemas made fit for decoding: random texts of their grammars are valid, by `jsonschema`."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import json
import pathlib
import time
import uuid
from typing import Annotated, Any, Literal, Optional, Union

import jsonschema
import pytest
from pydantic import UUID4, BaseModel, Field, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.finished_values import fault_of
from amulet_integrations.prompting.json_schema.older_llguidance import is_older_llguidance
from amulet_integrations.prompting.json_schema.schema_to_grammar import (
    arguments_schema,
    constrained_schema,
    enforced_schema,
    json_rule,
)
from amulet_integrations.prompting.openai_compat.schema_check import SchemaCheck
from tests.unit.prompting.walks import Walker

WALKER = Walker()


def walked(schema, seeds=range(6)):
    grammar = f"start: {json_rule(constrained_schema(schema))}"
    return [json.loads(WALKER.walk(grammar, seed)) for seed in seeds]


def accepts(schema, *texts):
    grammar = f"start: {json_rule(constrained_schema(schema))}"
    return [WALKER.accepts(grammar, text) for text in texts]


class Colour(enum.Enum):
    RED = "rot"
    BLUE = "青"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = None


class Node(BaseModel):
    value: int
    children: list[Node] = Field(default=[], max_length=2)


class Everything(BaseModel):
    """All that people put into models."""

    perhaps: Optional[int]  # noqa: UP045
    counts: dict[str, int]
    pair: tuple[int, bool]
    tree: Node
    day: dt.date
    moment: dt.datetime
    pet: Annotated[Union[Cat, Dog], Field(discriminator="kind")]  # noqa: UP007
    colour: Colour
    key: uuid.UUID
    where: pathlib.Path
    size: Literal["groß", "klein", 1] = Field(alias="größe")
    name: str = Field(alias="名前")
    anything: Any = None
    chance: float = Field(ge=0, lt=1)
    span: dt.timedelta
    random_key: UUID4
    by_code: dict[Annotated[str, StringConstraints(pattern="^k[0-9]$")], int]
    by_colour: dict[Colour, int]


class Film(TypedDict):
    title: str
    year: int


@pytest.mark.parametrize("seed", range(8))
def test_pydantic_models_are_filled(seed):
    (value,) = walked(Everything.model_json_schema(), [seed])
    jsonschema.validate(value, Everything.model_json_schema())
    Everything.model_validate(value)


def test_typed_dicts_are_filled():
    for value in walked(TypeAdapter(Film).json_schema()):
        assert value.keys() == {"title", "year"}
        assert value["title"]


WRITTEN_BY_HAND = [
    {"type": "object"},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": ["object", "null"], "properties": {"a": {"const": [1, {"b": None}]}}},
    {
        "type": "object",
        "properties": {"x": {"$ref": "#/definitions/p", "description": "A point."}},
        "required": ["x"],
        "definitions": {"p": {"type": "integer", "minimum": -5, "maximum": 5}},
    },
    {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ],
        "type": "object",
    },
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    {
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"enum": ["ß", "\n"]}}}],
        "required": ["b"],
        "type": "object",
        "$defs": {"base": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}},
    },
    {
        "type": "object",
        "patternProperties": {"^n_[a-z]$": {"type": "integer"}},
        "additionalProperties": False,
    },
    {"type": "integer", "multipleOf": 7, "minimum": 1, "exclusiveMaximum": 100},
    {"type": "string", "pattern": "^[a-c]{2,4}$"},
    {"type": "array", "prefixItems": [{"type": "null"}, {"enum": [1]}], "items": False},
]


@pytest.mark.parametrize("schema", WRITTEN_BY_HAND, ids=range(len(WRITTEN_BY_HAND)))
def test_schemas_written_by_hand_are_kept(schema):
    for value in walked(schema):
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_objects_have_no_properties_that_were_not_listed():
    listed = {"type": "object", "properties": {"a": {"type": "integer"}}}
    more = '{"a": 1, "b": 2}'
    assert accepts(listed, '{"a": 1}', more) == [True, False]
    assert accepts({**listed, "additionalProperties": {"type": "integer"}}, more) == [True]
    assert accepts({"type": "object"}, more) == [True]


def test_parts_of_one_object_do_not_close_each_other():
    both = '{"a": 1, "b": true}'
    assert accepts(WRITTEN_BY_HAND[5], both) == [True]
    assert accepts(WRITTEN_BY_HAND[7], '{"a": 1, "b": "ß"}') == [True]
    one_of_many = {
        "anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}],
        "$defs": {"a": {"properties": {"a": {"type": "integer"}}}},
    }
    assert accepts(one_of_many, "null", '{"a": 1}', both, "3") == [True, True, False, False]


def test_a_tool_that_lists_no_arguments_takes_none():
    grammar = f"start: {json_rule(arguments_schema({'type': 'object', 'properties': {}}))}"
    assert WALKER.accepts(grammar, "{}")
    assert not WALKER.accepts(grammar, '{"a": 1}')


def test_required_strings_are_not_empty_unless_they_may_be():
    def strings(**more):
        properties = {"a": {"type": "string", **more}, "b": {"type": "string"}}
        return {"type": "object", "properties": properties, "required": ["a"]}

    empty, optional = '{"a": ""}', '{"a": "x", "b": ""}'
    assert accepts(strings(), empty, optional) == [False, True]
    assert accepts(strings(minLength=0), empty) == [True]
    assert accepts(strings(enum=["", "b"]), empty) == [True]
    assert accepts(strings(pattern="^a*$"), empty) == [True]
    assert accepts(strings(maxLength=0), empty) == [True]


def test_no_property_can_be_written_twice():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "additionalProperties": True,
    }
    twice = ('{"a": 1, "a": "x"}', '{"a": 1, "\\u0061": "x"}')
    once = ('{"a": 1, "ab": "x"}', '{"a": 1, "": 2}', '{"a": 1, "\\n": null}')
    assert accepts(schema, *twice, *once) == [False, False, True, True, True]


@pytest.mark.parametrize("year", [100, 400, 1600, 1900, 1999, 2000, 2023, 2024, 2100, 9996])
def test_dates_are_days_of_the_calendar(year):
    days = [f"{year:04}-{month:02}-{day:02}" for month in range(14) for day in (0, 28, 29, 30, 31)]
    texts = [json.dumps(day) for day in days]
    expected = [_is_date(day) for day in days]
    assert accepts({"type": "string", "format": "date"}, *texts) == expected
    moments = [json.dumps(f"{day}T23:59:59.5+01:00") for day in days]
    assert accepts({"type": "string", "format": "date-time"}, *moments) == expected


def _is_date(text):
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


INTEGER = {"type": "integer"}
KINDS = {"properties": {"kind": {"enum": ["a", "b"]}, "n": INTEGER}, "required": ["kind"]}
IS_A = {"properties": {"kind": {"const": "a"}}}
CIRCLE = {"type": "object", "properties": {"v": INTEGER}, "required": ["v"]}
# What is written with other keywords, so that the grammar enforces it all.
REWRITTEN = {
    "if": {**KINDS, "if": IS_A, "then": {"required": ["n"]}, "else": {"properties": {"n": False}}},
    "if with names of its own": {
        **KINDS,
        "if": {**IS_A, "required": ["kind"]},
        "then": {"properties": {"x": {"type": "boolean"}}, "required": ["x"]},
        "else": {"properties": {"y": INTEGER}, "required": ["y"]},
    },
    "if a property is there": {**KINDS, "if": {"required": ["n"]}, "then": IS_A},
    "if false": {**KINDS, "if": False, "then": False, "else": {"required": ["n"]}},
    "dependentRequired": {**KINDS, "dependentRequired": {"kind": ["n"]}},
    "dependencies": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **KINDS,
        "dependencies": {"kind": ["n"], "n": {"properties": {"n": {"minimum": 7}}}},
    },
    "dependentSchemas": {**KINDS, "dependentSchemas": {"n": {"properties": {"n": {"const": 5}}}}},
    "contains": {"type": "array", "items": {"type": ["integer", "null"]}, "contains": INTEGER},
    "uniqueItems of a few values": {
        "type": "array",
        "items": {"$ref": "#/$defs/mood"},
        "uniqueItems": True,
        "minItems": 2,
        "$defs": {"mood": {"enum": ["calm", "wild", "dull"]}},
    },
    "minContains": {"type": "array", "contains": {"type": "boolean"}, "minContains": 2},
    "propertyNames": {
        "type": "object",
        "propertyNames": {"pattern": "^a[bc]*$"},
        "additionalProperties": INTEGER,
    },
    "names by length": {"type": "object", "propertyNames": {"minLength": 1, "maxLength": 2}},
    "circle": {
        "$ref": "#/$defs/N",
        "$defs": {
            "N": {**CIRCLE, "properties": {"v": INTEGER, "c": {"$ref": "#/$defs/N", **CIRCLE}}}
        },
    },
    "circle through the whole": {
        **CIRCLE,
        "properties": {"v": INTEGER, "c": {"$ref": "#", "properties": {"v": {"minimum": 3}}}},
    },
    "exclusiveMinimum of draft 4": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 3,
    },
    "contentEncoding": {"type": "string", "contentEncoding": "base64"},
    "contentMediaType": {"type": "string", "contentMediaType": "application/json"},
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_what_can_be_written_otherwise_is_enforced(name):
    schema = REWRITTEN[name]
    enforced = enforced_schema(schema)
    # An older llguidance does not keep free names of combined objects free of escapes.
    left = {"additionalProperties"} if is_older_llguidance() else set()
    assert {it.keyword for it in enforced.unenforced} <= left
    assert not enforced.error
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    for value in walked(schema, range(5)):
        assert validator.is_valid(value), value


def test_every_order_of_a_few_values_can_be_written():
    items = {"type": "array", "items": {"enum": [1, 2, "x"]}, "uniqueItems": True}
    texts = ("[]", '["x", 1]', '[2, "x", 1]', "[1, 1]", '[1, 2, "x", 1]')
    assert accepts(items, *texts) == [True, True, True, False, False]
    many = {**items, "items": {"enum": list(range(9))}}
    assert accepts(many, f"{list(range(9))}", f"{[0] * 10}") == [True, False]


# What the grammar enforces only a part of, with the keyword that is reported.
LEFT = {
    "uniqueItems": {"type": "array", "uniqueItems": True},
    "not": {"type": "string", "not": {"const": "x"}},
    "if": {**KINDS, "if": {"properties": {"n": {"minimum": 9}}}, "then": IS_A},
    "contains": {"type": "array", "prefixItems": [INTEGER], "contains": {"const": "x"}},
    "maxContains": {"type": "array", "contains": {"const": 1}, "maxContains": 2},
    "propertyNames": {"type": "object", "propertyNames": {"not": {"const": "a"}}},
    "pattern": {"type": "string", "pattern": r"^(?=.*[0-9])[a-z0-9]{3,5}$"},
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^(?!a)": INTEGER},
        "additionalProperties": False,
    },
    "minProperties": {"type": "object", "minProperties": 2},
    "maxProperties": {
        "type": "object",
        "properties": {"a": INTEGER, "b": INTEGER, "c": INTEGER},
        "maxProperties": 1,
    },
    "oneOf": {"oneOf": [CIRCLE, {"type": "object", "properties": {"w": INTEGER}}]},
    "unevaluatedProperties": {
        "allOf": [CIRCLE, {"anyOf": [{"properties": {"w": INTEGER}}, {"required": ["x"]}]}],
        "unevaluatedProperties": False,
    },
    "unevaluatedItems": {"type": "array", "prefixItems": [INTEGER], "unevaluatedItems": False},
}


@pytest.mark.parametrize("keyword", LEFT)
def test_what_is_left_to_a_check_is_reported_with_its_place_and_found(keyword):
    inner = LEFT[keyword]
    schema = {"properties": {"a/b": {"items": {"anyOf": [inner, {"const": None}]}}}}
    (unenforced,) = enforced_schema(schema).unenforced
    assert str(unenforced) == f"{keyword!r} at #/properties/a~1b/items/anyOf/0"
    assert unenforced.remedy
    oracle = jsonschema.Draft202012Validator(inner)
    for value in walked(inner, range(5)):
        assert bool(fault_of(inner, value)) is not oracle.is_valid(value), value


def test_what_is_required_and_not_described_can_be_written():
    schema = {"properties": {"a": INTEGER}, "required": ["a", "b"]}
    assert accepts(schema, '{"a": 1, "b": [2]}', '{"a": 1}') == [True, False]
    for value in walked(schema):
        jsonschema.validate(value, schema)


def test_parts_that_are_all_free_can_be_enforced():
    free = {"type": "object", "additionalProperties": True}
    part = {**free, "properties": {"v": {"type": "string"}}}
    schema = {"$defs": {"N": part}, **free, "allOf": [{"$ref": "#/$defs/N"}]}
    assert accepts(schema, '{"v": "x", "w": 1}', '{"v": 1}') == [True, False]


def test_a_pattern_keeps_what_is_not_look_around():
    accepted = accepts({"type": "string", "pattern": r"^(?!x)[a-z](\d)(?=1)$"}, '"x7"', '"xx"')
    assert accepted == [True, False]


def test_what_is_wrong_with_a_long_value_is_said_in_short():
    fault = fault_of({"type": "array", "uniqueItems": True}, ["the sea"] * 99)
    assert "non-unique elements" in fault
    assert len(fault) < 250


HARD = "(a|aa)+$"  # searched for twice as long with each letter
LONG_NAME, LONG_TEXT = "a" * 60 + "!", "a" * 60 + "!"
TREE = {
    "properties": {"v": {"type": "integer"}},
    "anyOf": [{"properties": {"c": {"$ref": "#"}}}],
    "unevaluatedProperties": False,
    "uniqueItems": True,
}
DEEP: dict[str, Any] = {"v": 1}
for _ in range(24):
    DEEP = {"c": DEEP}
# What nobody can wait for. Python's `re` is not to be asked at all: it cannot be stopped.
ENDLESS = {
    "one text": ({"pattern": f"^{HARD}"}, LONG_TEXT),
    "texts": ({"items": {"pattern": f"^{HARD}"}}, [f"{LONG_TEXT}{i}" for i in range(30)]),
    "names": ({"patternProperties": {f"^{HARD}": False}}, {LONG_NAME: 1}),
    "other names": (
        {"patternProperties": {f"^{HARD}": False}, "additionalProperties": False},
        {LONG_NAME: 1},
    ),
    "unevaluated names": (
        {"anyOf": [{"patternProperties": {f"^{HARD}": {}}}], "unevaluatedProperties": False},
        {LONG_NAME: 1},
    ),
    "names inside": (
        {"properties": {"a": {"items": {"patternProperties": {f"^{HARD}": {}}}}}},
        {"a": [{LONG_NAME: 1}]},
    ),
    "parts that are looked at twice": (TREE, DEEP),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_check_ends(name, monkeypatch):
    monkeypatch.setattr(f"{fault_of.__module__}._SECONDS", 0.2)
    schema, value = ENDLESS[name]
    begun = time.monotonic()
    assert "longer than 0.2 s" in fault_of({"not": {"const": 5}, **schema}, value)
    assert time.monotonic() - begun < 30


def test_many_items_and_deep_values_are_compared():
    items = [{"a": [index, True]} for index in range(4000)]
    assert fault_of({"uniqueItems": True}, items) == ""
    assert "non-unique" in fault_of({"uniqueItems": True}, [*items, {"a": [7, True]}])
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert "too deeply" in fault_of({"items": {"$ref": "#"}, "uniqueItems": True}, deep)


SAME = [1, 1.0, True, 0, False, "1", None, [1], [True], {"a": 1}, {"a": True}, {"a": 1.0}, [], {}]


@pytest.mark.parametrize("pair", [*itertools.combinations(SAME, 2)], ids=str)
def test_items_are_the_same_as_jsonschema_has_it(pair):
    schema = {"type": "array", "uniqueItems": True}
    valid = jsonschema.Draft202012Validator(schema).is_valid(list(pair))
    assert bool(fault_of(schema, list(pair))) is not valid


NAMED = {
    "type": "object",
    "properties": {"a1": {"minimum": 3}, "b": {"$ref": "#/patternProperties/^a"}},
    "patternProperties": {"^a": INTEGER, "1$": {"maximum": 5}, "^none$": False},
    "not": {"required": ["z"]},
}
VALUES = [
    *({}, {"a1": 3}, {"a1": 2}, {"a1": 6}, {"a1": 4, "a2": 7}, {"a2": "x"}, {"c1": 6}, {"c1": "x"}),
    *({"b": "x"}, {"b": 1}, {"x": "y"}, {"none": 1}, {"z": 1}, {"a1": {"a": "x"}}),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("more", [{}, {"additionalProperties": False}, {"minProperties": 1}])
@pytest.mark.parametrize("rest", [{}, {"unevaluatedProperties": False}])
def test_patterns_of_names_mean_what_they_mean_to_jsonschema(value, more, rest):
    schema = {**NAMED, **more, **rest}
    valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert bool(fault_of(schema, value)) is not valid


PATTERNS = {
    r"^\p{L}+$": ("né", "n1"),
    r"^(?<n>a)$": ("a", "b"),
    r"^a\z": ("a", "ab"),
    r"^\x{41}$": ("A", "x"),
    r"^[a-z&&[^b]]$": ("a", "b"),
    r"^[a-z--b]$": ("a", "b"),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_keyword_that_is_left_to_a_check_refuses_no_pattern(pattern):
    good, bad = PATTERNS[pattern]
    left = {"uniqueItems": True}
    text = {**left, "type": "string", "pattern": pattern}
    by_name = {**left, "patternProperties": {pattern: INTEGER}, "additionalProperties": False}
    inside = {**left, "not": {"pattern": pattern}}
    for schema in (text, by_name, inside):
        SchemaCheck("x", schema).run()
    written = [f'"{value}"' for value in (good, bad)]
    assert accepts({"type": "string", "pattern": pattern}, *written) == [True, False]
    assert [bool(fault_of(text, value)) for value in (good, bad)] == [False, True]
    assert [bool(fault_of(by_name, {value: 1})) for value in (good, bad)] == [False, True]
    assert [bool(fault_of(inside, value)) for value in (good, bad)] == [True, False]


@pytest.mark.parametrize("keyword", ["not", "if", "unevaluatedProperties", "unevaluatedItems"])
def test_what_is_no_pattern_is_refused_wherever_it_stands(keyword):
    for inner in ({"pattern": "("}, {"items": {"patternProperties": {"(": {}}}}):
        with pytest.raises(UnsupportedGrammarError, match=rf"'\(' at #/{keyword}.*no regular"):
            SchemaCheck("x", {"uniqueItems": True, keyword: inner}).run()


def test_a_check_asks_nobody_for_references(monkeypatch):
    def refused(*_args, **_options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    far = {"properties": {"a": {"$ref": "http://example.com/s"}}, "uniqueItems": True}
    assert "example.com" in enforced_schema(far).error
    assert "leads nowhere" in fault_of(far, {"a": 1})


OUTDATED = {"divisibleBy": 3, "disallow": "string", "extends": {}}


@pytest.mark.parametrize("keyword", OUTDATED)
def test_keywords_of_old_drafts_are_refused_with_their_place(keyword):
    schema = {"properties": {"a/b": {"items": {"anyOf": [{}, {keyword: OUTDATED[keyword]}]}}}}
    with pytest.raises(UnsupportedGrammarError, match="#/properties/a~1b/items/anyOf/1") as caught:
        constrained_schema(schema)
    assert repr(keyword) in str(caught.value)


def test_other_refusals():
    with pytest.raises(UnsupportedGrammarError, match=r"'\('.* at #/properties/a"):
        constrained_schema({"properties": {"a": {"type": "string", "pattern": "("}}})
    with pytest.raises(UnsupportedGrammarError, match=r"#/\$dynamicRef"):
        constrained_schema({"$dynamicRef": "#nowhere"})
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"items": deep}
    with pytest.raises(UnsupportedGrammarError, match="too deeply"):
        constrained_schema(deep)


def test_keywords_are_not_looked_for_among_names_and_values():
    named = {"not": {"type": "string"}, "format": {"type": "integer"}, "$ref": {"type": "null"}}
    schema = {
        "type": "object",
        "properties": named,
        "examples": [{"if": 1}],
        "default": {"uniqueItems": True},
        "uniqueItems": False,
        "title": "t",
        "$comment": "c",
    }
    assert accepts(schema, '{"not": "x", "format": 3, "$ref": null}') == [True]


def test_the_callers_schema_is_left_as_it_was():
    before = Everything.model_json_schema()
    constrained_schema(before)
    assert before == Everything.model_json_schema()


def test_a_schema_cannot_loosen_its_grammar():
    loose = {"type": "integer", "x-guidance": {"lenient": True, "whitespace_flexible": True}}
    assert accepts(loose, "1", " 1") == [True, False]


FREE = [
    {"type": "number"},
    {"type": ["number", "null"]},
    {"type": "number", "minimum": -1e300, "exclusiveMaximum": 1e300},
    {},
    {"description": "Anything."},
    {"anyOf": [{"type": "number"}, {"type": "string"}]},
]
FREE_PARTS = [
    ({"type": "array"}, "[%s]"),
    ({"type": "array", "items": {}}, "[%s]"),
    ({"type": "array", "items": True}, "[%s]"),
    ({"type": "object"}, '{"a": [%s]}'),
    ({"properties": {"a": True}}, '{"a": {"b": %s}}'),
    ({"properties": {"b": {}}, "additionalProperties": True}, '{"a": {"b": %s}}'),
    ({"properties": {"id": {"type": "number"}, "a": {}}}, '{"a": %s}'),
    ({"$id": "http://example.com/s", "type": "array"}, "[%s]"),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array"}, "[%s]"),
]
FREE_PLACES = [*((schema, "%s") for schema in FREE), *FREE_PARTS]


@pytest.mark.parametrize(("schema", "around"), FREE_PLACES, ids=range(len(FREE_PLACES)))
def test_numbers_are_finite_wherever_they_stand(schema, around):
    numbers = ("0.5", "-3.25", "10000000000", "0.0000001", "1e400", "-1e400", "9" * 400)
    texts = [around % number for number in numbers]
    assert accepts(schema, *texts) == [True] * 4 + [False] * 3


SIXTY_FOUR_BITS = (-(2**63), 2**63 - 1)
LONG = "9" * 40
INTEGERS = [
    {"type": "integer"},
    {"type": ["integer", "null"]},
    {"type": "integer", "minimum": 0},
    {"type": "integer", "maximum": 7},
    {"type": "integer", "exclusiveMinimum": 0},
    {"type": "integer", "exclusiveMaximum": 8},
    {"type": "integer", "minimum": -(10**30), "maximum": 1e300},
    {"type": "integer", "multipleOf": 7},
    {"type": "integer", "multipleOf": 7, "minimum": 1},
    {"allOf": [{"type": "integer"}, {"minimum": 1}]},
    {"$ref": "#/$defs/n", "maximum": 7, "$defs": {"n": {"type": "integer"}}},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"minimum": 1},
    {},
]


@pytest.mark.parametrize("schema", INTEGERS, ids=range(len(INTEGERS)))
def test_integers_have_no_more_than_64_bits(schema):
    assert accepts(schema, "7", LONG, f"-{LONG}") == [True, False, False]
    inside = {"type": "object", "additionalProperties": schema}
    assert accepts({**inside, "$defs": schema.get("$defs", {})}, f'{{"a": {LONG}}}') == [False]
    numbers = {"type": "array", "items": schema, "$defs": schema.get("$defs", {})}
    for value in walked(numbers, range(2)):
        integers = [item for item in value if type(item) is int]
        assert all(SIXTY_FOUR_BITS[0] <= item <= SIXTY_FOUR_BITS[1] for item in integers)


@pytest.mark.parametrize("schema", [{"type": "number"}, {"type": "number", "minimum": 0.25}, {}])
def test_decimals_end(schema):
    assert accepts(schema, "0.3333333333", f"0.{'3' * 11}", f"1.5{'0' * 40}") == [
        True,
        False,
        False,
    ]


def test_numbers_of_a_narrow_range_have_the_decimals_that_they_need():
    schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-9}
    assert accepts(schema, "0.00000000025") == [True]


def test_bounds_of_numbers_stay():
    bounded = {"type": "number", "exclusiveMinimum": 0}
    assert accepts(bounded, "0", "-1", "0.1", "7") == [False, False, True, True]


def test_decimals_are_numbers_or_texts_that_are_numbers():
    text = {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}
    schema = {"anyOf": [{"type": "number"}, text]}
    texts = ("1.5", '"1.5"', '"-07"', '"+.5"', '""', '"-"', '"."', '"a"', "1e999")
    assert accepts(schema, *texts) == [True] * 4 + [False] * 5
    assert accepts(schema, f'"{LONG}"', f'"0.{LONG}"') == [False, False]


WRITABLE = '\b\f\n\r\t"\\\u2028'
UNWRITABLE = [chr(code) for code in (*range(32), 127, 0xD800) if chr(code) not in WRITABLE]


@pytest.mark.parametrize("char", UNWRITABLE, ids=ascii)
def test_characters_that_cannot_be_written_are_refused(char):
    text = f"a{char}b"
    for schema, place in (
        ({"const": text}, "#/items/const"),
        ({"enum": ["x", [{"y": text}]]}, "#/items/enum/1/0/y"),
        ({"const": {text: 1}}, "#/items/const"),
        ({"properties": {text: {}}}, "#/items/properties"),
        ({"required": [text]}, "#/items/required/0"),
    ):
        with pytest.raises(UnsupportedGrammarError, match=f"{place}, which cannot be written"):
            constrained_schema({"items": schema})


def test_characters_with_short_escapes_can_be_written():
    schema = {"properties": {WRITABLE: {"const": WRITABLE}}, "required": [WRITABLE]}
    assert walked(schema, [0]) == [{WRITABLE: WRITABLE}]


ONE = {"type": "object", "properties": {"v": {"type": "integer"}}, "required": ["v"]}
TWO = {"type": "object", "properties": {"w": {"type": "boolean"}}, "required": ["w"]}
PARAMETERS = [
    ({"$ref": "#/$defs/N", "$defs": {"N": ONE}}, '{"v": 1}'),
    ({"anyOf": [ONE, TWO]}, '{"w": true}'),
    ({"anyOf": [ONE, {"type": "string"}]}, '{"v": 1}'),
    ({"allOf": [ONE]}, '{"v": 1}'),
    ({"type": "object", "patternProperties": {"^v$": {"type": "integer"}}}, '{"v": 1}'),
    ({"propertyNames": {"enum": ["v"]}, "additionalProperties": {"type": "integer"}}, '{"v": 1}'),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"v": 1}'),
    ({"type": ["object", "null"], **{k: ONE[k] for k in ("properties", "required")}}, '{"v": 1}'),
]


@pytest.mark.parametrize(("parameters", "text"), PARAMETERS, ids=range(len(PARAMETERS)))
def test_arguments_may_be_described_in_any_part_of_the_schema(parameters, text):
    grammar = f"start: {json_rule(arguments_schema(parameters))}"
    assert WALKER.accepts(grammar, text)
    for wrong in ('{"v": "x"}', '{"v": 1, "w": true, "z": 1.5}', '"x"', "null"):
        assert not WALKER.accepts(grammar, wrong), wrong


MALFORMED = [
    ({"allOf": 5}, "#/allOf"),
    ({"anyOf": {"a": 1}}, "#/anyOf"),
    ({"oneOf": [5]}, "#/oneOf/0"),
    ({"properties": []}, "#/properties"),
    ({"properties": {"a/b": 5}}, "#/properties/a~1b"),
    ({"properties": {1: {"type": "string"}}}, "#/properties"),
    ({"items": "x"}, "#/items"),
    ({"additionalProperties": 1}, "#/additionalProperties"),
    ({"required": 5, "properties": {"a": {"type": "string"}}}, "#/required"),
    ({"required": [["a"]], "properties": {"a": {"type": "string"}}}, "#/required"),
    ({"minProperties": 3, "required": 5}, "#/required"),
    ({"minProperties": "3"}, "#/minProperties"),
    ({"format": ["x"], "type": "string"}, "#/format"),
    ({"format": {}, "type": "number"}, "#/format"),
    ({"pattern": 5}, "#/pattern"),
    ({"$ref": 5}, "#/[$]ref"),
    ({"type": [5]}, "#/type"),
    ({"enum": 5}, "#/enum"),
    ({"enum": [{1, 2}]}, "#/enum/0"),
    ({"const": b"x"}, "#/const"),
    ({"const": {"a": {2: 1}}}, "#/const/a"),
    ({"const": float("inf")}, "#/const"),
    ({"contains": 5}, "#/contains"),
    ({"if": 5, "then": {}}, "#/if"),
    ({"dependentRequired": 5}, "#/dependentRequired"),
    ({"dependencies": {"a": [5]}}, "#"),
    ({"minContains": "1"}, "#/minContains"),
    ({"minimum": float("nan")}, "#/minimum"),
    ({5: 5}, "#"),
]


@pytest.mark.parametrize(("schema", "place"), MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_schema_is_refused_with_its_place(schema, place):
    for fitting in (constrained_schema, arguments_schema):
        with pytest.raises(UnsupportedGrammarError, match=f"no JSON schema: at {place} it has"):
            fitting(schema)


def test_uuids_have_their_version():
    one, four = (json.dumps(str(made())) for made in (uuid.uuid1, uuid.uuid4))
    assert accepts({"type": "string", "format": "uuid4"}, one, four) == [False, True]
    assert accepts({"type": "string", "format": "uuid1"}, one, four) == [True, False]


def test_durations_are_no_longer_than_calendars():
    texts = ("P1D", "P2W", "PT5M", "P1Y2M3DT4H5M6S", "P", "PT", "P1Y2W", "P40444801056M")
    written = [json.dumps(text) for text in texts]
    assert accepts({"type": "string", "format": "duration"}, *written) == [True] * 4 + [False] * 4


def test_maps_have_no_other_names_than_their_patterns_and_enums():
    by_pattern = {"type": "object", "patternProperties": {"^k$": {"type": "integer"}}}
    assert accepts(by_pattern, '{"k": 1}', '{"x": 1}') == [True, False]
    assert accepts({**by_pattern, "additionalProperties": True}, '{"x": 1}') == [True]
    named = {"type": "object", "additionalProperties": {"type": "integer"}}
    named |= {"propertyNames": {"$ref": "#/$defs/C"}, "$defs": {"C": {"enum": ["k", 3]}}}
    assert accepts(named, "{}", '{"k": 1}', '{"x": 1}', '{"k": "x"}') == [True, True, False, False]
