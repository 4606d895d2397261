"""Schemas of tools and answers: what strictness closes, and what is said of those refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict

from amulet_integrations.errors import PromptError, UnsupportedGrammarError
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


UNENFORCEABLE = {
    "title": "f",
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {}, "uniqueItems": True}},
}


@pytest.mark.parametrize(
    ("method", "named"),
    [("json_schema", "the answer"), ("json_mode", "the answer"), ("function_calling", "'f'")],
)
def test_refusals_name_whose_schema_it_is_and_the_place(method: Any, named: str) -> None:
    llm = ChatAmulet(engine=ScriptedEngine([]))
    place = f"{named} has 'uniqueItems' at #/properties/tags, .* Leave it out"
    with pytest.raises(UnsupportedGrammarError, match=place):
        llm.with_structured_output(UNENFORCEABLE, method=method)
    if method == "function_calling":
        with pytest.raises(UnsupportedGrammarError, match=place):
            llm.bind_tools([UNENFORCEABLE])


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
