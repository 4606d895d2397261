"""Schemas of tools and answers: what strictness closes, and what is said of those refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict

from amulet_integrations.errors import PromptError, StructuredOutputError, UnsupportedGrammarError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.prompting import JsonOutput, ToolUse
from tests.support.scripted import ScriptedEngine


class Open(BaseModel):
    """Something with more."""

    model_config = ConfigDict(extra="allow")

    a: int
    b: dict[str, Any] = {}


class Holder(BaseModel):
    """What holds it."""

    inner: list[Open]
    other: Open | None = None


def asked(llm: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The schema that an answer, or the arguments of its one tool, is asked for by."""
    from amulet_integrations.personalization.personalizer import Personalizer

    seen: list[PreparedCall] = []
    prepare_answer = Personalizer.prepare_answer

    def recorded(self: Personalizer, prepared: PreparedCall) -> Any:
        seen.append(prepared)
        return prepare_answer(self, prepared)

    monkeypatch.setattr(Personalizer, "prepare_answer", recorded)
    llm.invoke("x")
    output, use = seen[-1].output.json_output, seen[-1].output.tool_use
    if isinstance(output, JsonOutput):
        return output.json_schema
    assert isinstance(use, ToolUse)
    return use.tools[0].parameters


def objects(schema: Any) -> list[dict[str, Any]]:
    """All in a schema that describe an object; its properties have no such names."""
    if isinstance(schema, list):
        return [found for inner in schema for found in objects(inner)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for inner in schema.values() for found in objects(inner)]


def scripted(method: str) -> ChatAmulet:
    text = json.dumps({"inner": []})
    if method == "function_calling":
        text = f'<tool_call>\n{{"name": "Holder", "arguments": {text}}}\n</tool_call>'
    return ChatAmulet(engine=ScriptedEngine([text]))


@pytest.mark.parametrize("given", ["class", "dict"])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_strict_closes_objects_at_every_depth(
    method: Any, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema: Any = Holder if given == "class" else Holder.model_json_schema()
    before = Holder.model_json_schema()
    llm = scripted(method).with_structured_output(schema, method=method, strict=True)
    found = objects(asked(llm, monkeypatch))
    assert len(found) == len(objects(before)) == 3
    for one in found:
        assert one["additionalProperties"] is False
        assert one.get("required", []) == list(one.get("properties", {}))
    assert given == "class" or schema == before


@pytest.mark.parametrize("strict", [None, False])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_else_the_schema_says_what_is_open(
    method: Any, strict: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = scripted(method).with_structured_output(Holder, method=method, strict=strict)
    found = objects(asked(llm, monkeypatch))
    assert [one.get("additionalProperties") for one in found].count(True) == 2


def test_response_formats_and_tools_close_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object"}}}
    told = {"name": "x", "schema": schema, "strict": True}
    form = {"type": "json_schema", "json_schema": told}
    llm = ChatAmulet(engine=ScriptedEngine(['{"a": {}}']))
    answer = asked(llm.bind(response_format=form), monkeypatch)
    tool = {"name": "f", "description": "Does it.", "parameters": schema}
    assert answer == asked(llm.bind_tools([tool], strict=True), monkeypatch)
    assert [one["additionalProperties"] for one in objects(answer)] == [False, False]


def listed(**schema: Any) -> dict[str, Any]:
    """A schema of an object with one property."""
    return {"title": "f", "type": "object", "properties": {"v": schema}, "required": ["v"]}


NUMBERS = {"type": "array", "items": {"type": "integer"}}
# Schemas that no grammar enforces whole, each with a value that follows it and one that does not.
CHECKED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "uniqueItems": (listed(**NUMBERS, uniqueItems=True), [1, 2], [1, 1]),
    "not": (listed(type="integer", **{"not": {"const": 0}}), 1, 0),
    "maxContains": (listed(**NUMBERS, contains={"const": 1}, maxContains=1), [1, 2], [1, 1]),
    "oneOf": (listed(oneOf=[{"type": "number"}, {"type": "integer"}]), 0.5, 3),
    "pattern": (listed(type="string", pattern="^(?!no)[a-z]{4}$"), "yess", "nope"),
    "if": (
        listed(**{"if": {"type": "integer", "minimum": 5}, "then": {"multipleOf": 5}}),
        10,
        11,
    ),
    "unevaluatedItems": (
        listed(type="array", prefixItems=[{"type": "integer"}], unevaluatedItems=False),
        [1],
        [1, 2],
    ),
}
METHODS = ["json_schema", "json_mode", "function_calling"]


def writing(value: Any, *, called: bool) -> ChatAmulet:
    text = json.dumps({"v": value})
    if called:
        text = f'<tool_call>\n{{"name": "f", "arguments": {text}}}\n</tool_call>'
    return ChatAmulet(engine=ScriptedEngine([text[:9], text[9:]]))


@pytest.mark.parametrize("keyword", CHECKED)
@pytest.mark.parametrize("method", METHODS)
def test_what_no_grammar_enforces_is_checked_when_the_answer_is_finished(
    method: Any, keyword: str
) -> None:
    schema, good, bad = CHECKED[keyword]
    oracle = Draft202012Validator(schema)
    assert (oracle.is_valid({"v": good}), oracle.is_valid({"v": bad})) == (True, False)

    def reader(value: Any, **options: Any) -> Any:
        llm = writing(value, called=method == "function_calling")
        return llm.with_structured_output(schema, method=method, **options)

    assert reader(good).invoke("x") == {"v": good}
    assert list(reader(good).stream("x"))[-1] == {"v": good}
    for ask in (reader(bad).invoke, lambda question: list(reader(bad).stream(question))):
        with pytest.raises(OutputParserException):
            ask("x")
    with pytest.raises(OutputParserException, match=r"\$\.v"):
        reader(bad).invoke("x")
    found = reader(bad, include_raw=True).invoke("x")
    assert isinstance(found["raw"], AIMessage)
    assert isinstance(found["parsing_error"], OutputParserException)
    assert found["parsed"] is None


@pytest.mark.parametrize("keyword", CHECKED)
async def test_a_plain_answer_that_fails_its_schema_is_an_error(keyword: str) -> None:
    schema, good, bad = CHECKED[keyword]
    for form in (
        {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}},
        {"type": "json_object", "schema": schema},
    ):
        answer = writing(good, called=False).invoke("x", response_format=form)
        assert json.loads(answer.text) == {"v": good}
        llm = writing(bad, called=False)
        with pytest.raises(StructuredOutputError, match=r"\$\.v"):
            llm.invoke("x", response_format=form)
        with pytest.raises(StructuredOutputError, match=r"\$\.v"):
            async for _ in llm.astream("x", response_format=form):
                pass


@pytest.mark.parametrize("keyword", CHECKED)
def test_a_call_that_fails_its_tools_schema_is_invalid(keyword: str) -> None:
    schema, good, bad = CHECKED[keyword]
    answer = writing(good, called=True).bind_tools([schema]).invoke("x")
    assert [call["args"] for call in answer.tool_calls] == [{"v": good}]
    answer = writing(bad, called=True).bind_tools([schema]).invoke("x")
    assert answer.tool_calls == []
    (call,) = answer.invalid_tool_calls
    assert "$.v" in str(call["error"])
    assert json.loads(str(call["args"])) == {"v": bad}


@pytest.mark.parametrize("keyword", CHECKED)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_strict_asks_for_all_of_it_while_decoding(method: Any, keyword: str) -> None:
    schema = CHECKED[keyword][0]
    llm = ChatAmulet(engine=ScriptedEngine([]))
    named = "'f'" if method == "function_calling" else "the answer"
    place = f"{named} has '{keyword}' at #/properties/v, .*strict=True asks.*[.] Or leave strict"
    with pytest.raises(UnsupportedGrammarError, match=place):
        llm.with_structured_output(schema, method=method, strict=True)
    with pytest.raises(UnsupportedGrammarError, match=keyword):
        llm.bind_tools([schema], strict=True)


def test_a_schema_that_no_value_can_be_checked_by_is_refused() -> None:
    llm = ChatAmulet(engine=ScriptedEngine([]))
    odd = listed(**NUMBERS, uniqueItems=True, maxItems="three")
    with pytest.raises(UnsupportedGrammarError, match="'f' is no JSON schema: at #/properties/v"):
        llm.bind_tools([odd])


@pytest.mark.parametrize("format_name", ["url", "byte", "iri", "int32", "semver"])
@pytest.mark.parametrize("kind", ["string", "integer", ["string", "null"]], ids=str)
def test_unknown_formats_are_annotations(format_name: str, kind: Any) -> None:
    value = 3 if kind == "integer" else "x"
    schema = listed(type=kind, format=format_name)
    for strict in (None, True):
        bound = writing(value, called=True).bind_tools([schema], strict=strict)
        assert [call["args"] for call in bound.invoke("x").tool_calls] == [{"v": value}]


def test_what_only_the_grammar_finds_wrong_is_named_too() -> None:
    llm = ChatAmulet(engine=ScriptedEngine([]))
    schema = {"title": "f", "type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}
    with pytest.raises(UnsupportedGrammarError, match=r"the tool 'f' .*none"):
        llm.bind_tools([schema])


INNER = {"type": "object", "properties": {"v": {"type": "integer"}}, "required": ["v"]}
REFERRED = {"$ref": "#/$defs/N", "$defs": {"N": INNER}}


@pytest.mark.parametrize("strict", [None, True])
def test_tools_may_describe_their_arguments_by_reference(
    strict: bool | None, chat: Callable[..., ChatAmulet]
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": REFERRED}}
    llm = chat(max_tokens=200).bind_tools([tool], strict=strict, tool_choice="any")
    (call,) = llm.invoke("x").tool_calls
    assert isinstance(call["args"]["v"], int)


def test_parts_of_one_object_are_not_closed_to_each_other(chat: Callable[..., ChatAmulet]) -> None:
    also = {"properties": {"w": {"type": "boolean"}}, "required": ["w"]}
    schema = {"title": "f", "type": "object", "allOf": [INNER, also]}
    found = chat(max_tokens=200).with_structured_output(schema, strict=True).invoke("x")
    assert found.keys() >= {"v", "w"}


def test_two_minds_about_strictness_are_refused() -> None:
    llm = ChatAmulet(engine=ScriptedEngine([]))
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": INNER}}
    with pytest.raises(PromptError, match="'f' has strict=True"):
        llm.bind_tools([tool], strict=False)


def test_a_text_in_an_answer_of_json_is_no_call() -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"v": 1}}\n</tool_call>'
    answer = json.dumps({"note": f"ok {call} bye"})
    tool = {"type": "function", "function": {"name": "f", "parameters": INNER}}

    def said(text: str) -> AIMessage:
        llm = ChatAmulet(engine=ScriptedEngine([text]))
        form = {"type": "json_object"}
        return llm.bind_tools([tool], response_format=form).invoke("x")

    first, second = said(answer), said(call)
    assert (first.text, first.tool_calls, first.invalid_tool_calls) == (answer, [], [])
    assert [made["args"] for made in second.tool_calls] == [{"v": 1}]
