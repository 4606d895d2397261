"""What every allowed llguidance has to enforce, or report; `make test-lowest` tries an old one."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.prompting.json_schema.finished_values import fault_in_text
from amulet_integrations.prompting.json_schema.older_llguidance import rewrite_for_older
from amulet_integrations.prompting.json_schema.schema_to_grammar import (
    constrained_schema,
    json_rule,
)
from tests.unit.prompting.walks import Walker

WALKER = Walker()
INTEGER = {"type": "integer"}
OPEN = {"type": "object", "properties": {"a": INTEGER}, "additionalProperties": {"type": "string"}}
LISTED = ["a", "ab", "b c", "-", "&&", "~", "/", "#", "]", "^", "\n", "ß", "青"]
ODD = {**OPEN, "properties": dict.fromkeys(LISTED, INTEGER)}
QUOTED = {**OPEN, "properties": {'"': INTEGER, "\\": INTEGER}}
LONG = "n" * 400

# A schema, texts that follow it, and texts that do not.
CASES = {
    "multiples of 7": (
        {"type": "integer", "multipleOf": 7},
        ("-14", "0", "14"),
        ("-13", "13", "-14.0"),
    ),
    "cents": ({"type": "number", "multipleOf": 0.01}, ("-3.25", "0.07", "-0.07"), ("-3.255",)),
    "halves": ({"type": ["null", "number"], "multipleOf": 0.5}, ("null", "-1.5", "2"), ("-1.3",)),
    "whole": ({"type": "number", "multipleOf": 1}, ("-3", "3"), ("-3.5", "3.5")),
    "without a type": ({"multipleOf": 3, "minimum": -9}, ("-9", '"x"', "[-0.25]"), ("-12", "-8")),
    "listed": ({"enum": [-7, 7, 8], "multipleOf": 7}, ("-7", "7"), ("8",)),
    "in alternatives": (
        {"oneOf": [{"type": "number"}, {"type": "string"}]},
        ("-0.5", '"x"'),
        ("-1e9",),
    ),
    "in parts": (
        {"allOf": [{"type": "integer", "multipleOf": 2}, {"type": "integer", "minimum": -4}]},
        ("-4", "2"),
        ("-6", "-3", "3"),
    ),
    "free names": (OPEN, ('{"a": 1, "ab": "x", "": "y"}',), ('{"a": 1, "\\u0061": "x"}',)),
    "odd names": (
        ODD,
        ('{"-": 1, "~~": "x", "abc": "y", "青青": "z"}',),
        tuple(f'{{"a": 1, {json.dumps(name)}: "x"}}' for name in LISTED),
    ),
    "quotes": (QUOTED, ('{"\\"": 1, "\\"x": "x"}',), ('{"\\"": "x"}', '{"\\\\": "x"}')),
    "patterns": (
        {**OPEN, "patternProperties": {"^x": INTEGER}},
        ('{"a": 1, "x1": 2, "y": "z"}',),
        ('{"a": 1, "\\u0061": "x"}', '{"a": 1, "\\u0078": "y"}'),
    ),
    "a long name": (
        {**OPEN, "properties": {LONG: INTEGER}},
        (f'{{"{LONG}": 1, "{LONG[1:]}": "x"}}',),
        (f'{{"{LONG}": "x"}}',),
    ),
    "combined": (
        {"allOf": [{"properties": {"a": INTEGER}}, {"properties": {"b": INTEGER}}]},
        ('{"a": 1, "b": 2, "c": "x"}',),
        ('{"a": 1, "b": 2, "\\u0061": "x"}',),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_schema_is_enforced_or_checked(name):
    schema, valid, invalid = CASES[name]
    grammar = f"start: {json_rule(constrained_schema(schema))}"
    for text in valid:
        assert (WALKER.accepts(grammar, text), fault_in_text(schema, text)) == (True, "")
    for text in invalid:
        assert not WALKER.accepts(grammar, text) or fault_in_text(schema, text), text


def test_multiples_have_the_decimals_that_were_written():
    step = {"type": "number", "multipleOf": 0.01}
    checked = {"type": "array", "items": step, "not": {"const": []}}  # so that the value is checked
    assert fault_in_text(checked, "[0.07, -0.07, 1.1, 3]") == ""
    assert "-0.075 is not a multiple of 0.01" in fault_in_text(checked, "[0.07, -0.075]")


@pytest.mark.parametrize("name", CASES)
def test_newer_releases_read_what_is_written_for_older_ones(name):
    schema, valid, invalid = CASES[name]
    written, unenforced = rewrite_for_older(constrained_schema(schema))
    grammar = f"start: {json_rule(written)}"
    assert all(WALKER.accepts(grammar, text) for text in valid)
    for text in () if unenforced else invalid:
        assert not WALKER.accepts(grammar, text) or fault_in_text(schema, text), text
