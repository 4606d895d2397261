"""The grammars of every format, against texts and against random walks that the parser reads."""

from __future__ import annotations

from functools import cache

import jsonschema
import pytest
from tokenizers import AddedToken

from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.prompting import AnswerParser
from amulet_integrations.prompting.tools.formats import (
    HermesFormat,
    LlamaFormat,
    MistralArgsFormat,
    MistralFormat,
    ToolFormat,
)
from amulet_integrations.prompting.tools.tool_use import Tool
from tests.support.tiny import tiny_tokenizer
from tests.unit.prompting.answers import WholeAnswer, join
from tests.unit.prompting.walks import Walker

MARKERS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
THINKING = ("<think>", "</think>")
FORMATS = (HermesFormat, LlamaFormat, MistralFormat, MistralArgsFormat)
KINDS = ("spelled out", "added", "special")

TOOLS = (
    Tool(
        name="search",
        parameters={
            "type": "object",
            "properties": {
                "frage": {"type": "string"},
                "größe": {"enum": ["groß", 'kl"ein', "</tool_call>"]},
                "where": {"$ref": "#/$defs/place"},
            },
            "required": ["frage", "größe"],
            "$defs": {
                "place": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "in": {"$ref": "#/$defs/place"}},
                    "required": ["x"],
                }
            },
        },
    ),
    # The same name of a definition, for something else.
    Tool(
        name="sum.up",
        parameters={
            "type": "object",
            "properties": {"all": {"type": "array", "items": {"$ref": "#/$defs/place"}}},
            "required": ["all"],
            "$defs": {"place": {"type": "integer", "minimum": 0, "maximum": 99}},
        },
    ),
    Tool(name="ping"),
)
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}


@cache
def walker(kind: str) -> Walker:
    tokenizer = tiny_tokenizer()
    if kind != "spelled out":
        special = kind == "special"
        added = [AddedToken(marker, special=special, normalized=False) for marker in MARKERS]
        tokenizer.add_tokens(added, special_tokens=special)
        tokenizer.add_tokens([AddedToken(tag, special=False) for tag in THINKING])
    return Walker(tokenizer)


def made(format_class, kind) -> ToolFormat:
    return format_class(walker(kind).tokenizer)


def parsed(tool_format: ToolFormat, text: str) -> WholeAnswer:
    parser = AnswerParser(tool_format, SCHEMAS)
    return join([*parser.push(text), *parser.flush()])


def check(answer: WholeAnswer) -> None:
    assert answer.invalid == ()
    for call in answer.calls:
        jsonschema.validate(call.arguments, SCHEMAS[call.name])


each_format = pytest.mark.parametrize("format_class", FORMATS)
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@each_format
@pytest.mark.parametrize("seed", range(6))
def test_walks_through_calls_are_calls(format_class, kind, seed):
    tool_format = made(format_class, kind)
    text = walker(kind).walk(tool_format.calls_grammar(TOOLS, parallel=True), seed)
    answer = parsed(tool_format, text)
    check(answer)
    assert answer.calls
    assert answer.text == ""


@each_kind
@each_format
@pytest.mark.parametrize("seed", range(6))
def test_walks_through_text_are_text(format_class, kind, seed):
    tool_format = made(format_class, kind)
    text = walker(kind).walk(tool_format.text_grammar(), seed)
    assert parsed(tool_format, text) == WholeAnswer(text=text)


@each_kind
@each_format
@pytest.mark.parametrize("seed", range(6))
def test_walks_through_both_are_text_then_calls(format_class, kind, seed):
    tool_format = made(format_class, kind)
    text = walker(kind).walk(tool_format.text_and_calls_grammar(TOOLS, parallel=True), seed)
    answer = parsed(tool_format, text)
    check(answer)
    assert text.startswith(answer.text)


PING = {
    HermesFormat: '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>',
    LlamaFormat: '{"name": "ping", "parameters": {}}',
    MistralFormat: '[TOOL_CALLS][{"name": "ping", "arguments": {}}]',
    MistralArgsFormat: "[TOOL_CALLS]ping[ARGS]{}",
}
PINGS = {
    HermesFormat: "\n".join([PING[HermesFormat]] * 2),
    LlamaFormat: None,
    MistralFormat: PING[MistralFormat][:-1] + ', {"name": "ping", "arguments": {}}]',
    MistralArgsFormat: PING[MistralArgsFormat] * 2,
}


@each_kind
@each_format
def test_one_call_or_several(format_class, kind):
    tool_format, once, twice = made(format_class, kind), PING[format_class], PINGS[format_class]
    for grammar in (tool_format.calls_grammar, tool_format.text_and_calls_grammar):
        one, several = (grammar(TOOLS, parallel=parallel) for parallel in (False, True))
        assert walker(kind).accepts(one, once)
        assert walker(kind).accepts(several, once)
        if twice is not None:
            assert not walker(kind).accepts(one, twice)
            assert walker(kind).accepts(several, twice)


@each_kind
@each_format
def test_a_name_brings_its_own_arguments(format_class, kind):
    grammar = made(format_class, kind).calls_grammar(TOOLS, parallel=True)
    right = PING[format_class].replace("ping", "sum.up").replace("{}", '{"all": [1, 99]}')
    assert walker(kind).accepts(grammar, right)
    for text in (
        right.replace("sum.up", "ping"),
        right.replace("sum.up", "search"),
        right.replace("sum.up", "other"),
        right.replace("99", "100"),
        right.replace('"all": [1, 99]', '"all": [1, 99], "b": 1'),
        right + "!",
        "",
    ):
        assert not walker(kind).accepts(grammar, text), text


@each_kind
@each_format
def test_calls_are_kept_out_of_text(format_class, kind):
    text_grammar = made(format_class, kind).text_grammar()
    accepts = walker(kind).accepts
    assert not accepts(text_grammar, PING[format_class])
    assert accepts(text_grammar, 'Hi, [1, 2] < {3}?\n\n日本語 "quoted"\n')
    assert accepts(text_grammar, "")
    if format_class.opening:
        assert not accepts(text_grammar, f"So: {format_class.opening}")
        assert accepts(text_grammar, f"So: {format_class.opening[:-1]}")
        assert accepts(text_grammar, '{"name": "ping", "parameters": {}}')
    else:
        for call in (' {"parameters": {', '```json\n{"name"', '[{"name"', '\n{\n "type":'):
            assert not accepts(text_grammar, call)
        assert accepts(text_grammar, '{"answer": 42}')
        assert accepts(text_grammar, 'Like {"name": "ping"}')


@each_format
def test_a_marker_that_is_a_token_is_kept_out_of_text_when_spelled_out_too(format_class):
    marker = format_class.opening or LlamaFormat.python_tag
    spelled = tiny_tokenizer()(f"So: {marker}", add_special_tokens=False).input_ids
    for kind in KINDS:
        grammar = made(format_class, kind).text_grammar()
        assert not walker(kind).accepts_ids(grammar, spelled)
        assert walker(kind).accepts_ids(grammar, spelled[:-1])


@each_kind
@pytest.mark.parametrize("format_class", [HermesFormat, MistralFormat, MistralArgsFormat])
def test_calls_may_follow_text_and_end_the_answer(format_class, kind):
    tool_format = made(format_class, kind)
    grammar = tool_format.text_and_calls_grammar(TOOLS, parallel=True)
    assert tool_format.calls_after_text
    assert walker(kind).accepts(grammar, f"One moment.\n{PING[format_class]}")
    assert walker(kind).accepts(grammar, "No need.")
    assert not walker(kind).accepts(grammar, f"One moment. {format_class.opening}")
    assert not walker(kind).accepts(grammar, f"{PING[format_class]} And so on.")


@each_kind
def test_llama_calls_open_the_answer_or_do_not_come(kind):
    tool_format = made(LlamaFormat, kind)
    grammar = tool_format.text_and_calls_grammar(TOOLS, parallel=True)
    call = PING[LlamaFormat]
    assert not tool_format.calls_after_text
    assert walker(kind).accepts(grammar, call)
    assert walker(kind).accepts(grammar, "<|python_tag|>" + call)
    assert walker(kind).accepts(grammar, "No need.")
    assert not walker(kind).accepts(grammar, call.replace("ping", "pong"))


def test_special_tokens_are_kept_where_calls_begin_with_one():
    for format_class in (HermesFormat, MistralFormat, MistralArgsFormat):
        kept = [made(format_class, kind).skip_special_tokens for kind in KINDS]
        assert kept == [True, True, False]
    assert made(LlamaFormat, "special").skip_special_tokens


@each_kind
def test_other_added_tokens_stay_possible_in_text(kind):
    assert walker(kind).accepts(made(MistralFormat, kind).text_grammar(), "<think>a</think>b")


@each_format
def test_a_schema_that_cannot_be_enforced_is_refused(format_class):
    tool = Tool(name="x", parameters={"properties": {"a": {"type": "integer", "divisibleBy": 3}}})
    with pytest.raises(UnsupportedGrammarError, match="#/properties/a"):
        made(format_class, "added").calls_grammar([tool], parallel=True)


@each_kind
def test_hermes_models_do_not_write_results_of_tools(kind):
    tool_format = made(HermesFormat, kind)
    for grammar in (
        tool_format.text_grammar(),
        tool_format.text_and_calls_grammar(TOOLS, parallel=True),
    ):
        assert not walker(kind).accepts(grammar, "Hi <tool_response>5</tool_response>")
        assert walker(kind).accepts(grammar, "Hi <tool_res> 5")
