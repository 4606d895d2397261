"""Structured output: how it is asked for, and what is read back on every path."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Annotated, Any, Optional, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from amulet_integrations.errors import PromptError, UnknownArgumentError, UnsupportedGrammarError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.prompting import JsonOutput
from tests.support.scripted import ScriptedEngine

QUESTION = "Who is it?"
FOUND = {"name": "Ann", "age": 7}
TEXT = json.dumps(FOUND)


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = Field(ge=0)


class OldPerson(BaseModelV1):
    """Somebody, in the old way."""

    name: str
    age: int


class PersonDict(TypedDict):
    """Somebody, as a dict."""

    name: Annotated[str, ..., "The name"]
    age: Annotated[int, ..., "The age"]


class Tree(BaseModel):
    """A person and children."""

    name: str
    children: list[Tree] = []


class OldTree(BaseModelV1):
    """The same, in the old way."""

    name: str
    child: Optional[OldTree] = None  # noqa: UP045 - what pydantic's version 1 can read


OldTree.update_forward_refs()

UNTITLED = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
SCHEMAS: dict[str, Any] = {
    "pydantic": Person,
    "pydantic v1": OldPerson,
    "typed dict": PersonDict,
    "json schema": Person.model_json_schema(),
    "json schema without a title": UNTITLED,
    "openai": {"name": "person", "description": "Somebody.", "parameters": UNTITLED},
}
WRAPPED: dict[str, Any] = {
    "bare": {"name": "person", "schema": UNTITLED},
    "nested": {"type": "json_schema", "json_schema": {"name": "person", "schema": UNTITLED}},
    "flat": {"type": "json_schema", "name": "person", "schema": UNTITLED},
}
METHODS = ["json_schema", "json_mode", "function_calling"]


@tool
def look_up(name: str) -> str:
    """Looks somebody up."""
    return name


def call(name: str, arguments: Any) -> str:
    body = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{body}\n</tool_call>"


def model(text: str = TEXT) -> ChatAmulet:
    return ChatAmulet(engine=ScriptedEngine(list(text)))


def written(method: str, schema: Any, text: str = TEXT) -> str:
    """What a model that follows the schema would write."""
    if method != "function_calling":
        return text
    name = convert_to_json_schema({"title": "answer", **schema} if schema is UNTITLED else schema)
    return call(name["title"], json.loads(text))


def plain(found: Any) -> Any:
    return found if isinstance(found, dict) else dict(found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", SCHEMAS)
async def test_every_schema_comes_back_by_every_method_on_every_path(
    form: str, method: Any
) -> None:
    schema = SCHEMAS[form]
    llm = model(written(method, schema)).with_structured_output(schema, method=method)
    kind = schema if form.startswith("pydantic") else dict
    streamed = list(llm.stream(QUESTION))
    astreamed = [found async for found in llm.astream(QUESTION)]
    for found in (llm.invoke(QUESTION), await llm.ainvoke(QUESTION), streamed[-1], astreamed[-1]):
        assert isinstance(found, kind)
        assert plain(found) == FOUND
    if kind is dict:
        assert len(streamed) > 2
        sizes = [len(json.dumps(found)) for found in streamed]
        assert sizes == sorted(sizes)
    else:
        assert len(streamed) == len(astreamed) == 1


@pytest.mark.parametrize("method", METHODS)
def test_tracers_are_told_the_schema(method: Any) -> None:
    told: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, options: Any = None, **__: Any) -> None:
            told.append(options)

    llm = model(written(method, Person)).with_structured_output(Person, method=method)
    llm.invoke(QUESTION, {"callbacks": [Handler()]})
    list(llm.stream(QUESTION, {"callbacks": [Handler()]}))
    for options in told:
        traced = options["ls_structured_output_format"]
        assert traced["schema"] == convert_to_json_schema(Person)
        assert traced["kwargs"]["method"] == method


def json_output_of(llm: Any, monkeypatch: pytest.MonkeyPatch) -> JsonOutput:
    from amulet_integrations.personalization.personalizer import Personalizer

    seen: list[Any] = []
    prepare_answer = Personalizer.prepare_answer

    def recorded(self: Personalizer, prepared: PreparedCall) -> Any:
        seen.append(prepared.output.json_output)
        return prepare_answer(self, prepared)

    monkeypatch.setattr(Personalizer, "prepare_answer", recorded)
    llm.invoke(QUESTION)
    return seen[-1]


@pytest.mark.parametrize(
    ("options", "in_prompt", "steered"),
    [
        ({}, True, False),
        ({"method": "json_mode"}, False, False),
        ({"steer_strings": True}, True, True),
        ({"method": "json_mode", "steer_strings": True}, False, True),
    ],
    ids=str,
)
def test_what_is_asked_of_the_engine(
    options: Any, in_prompt: bool, steered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = model().with_structured_output(Person, **options)
    asked = json_output_of(llm, monkeypatch)
    assert asked.json_schema == Person.model_json_schema()
    assert (asked.in_prompt, asked.steer_strings) == (in_prompt, steered)


def test_strings_are_steered_where_the_constructor_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llm = ChatAmulet(engine=ScriptedEngine([TEXT]), steer_strings=True)
    assert json_output_of(llm.with_structured_output(Person), monkeypatch).steer_strings
    calm = llm.with_structured_output(Person, steer_strings=False)
    assert not json_output_of(calm, monkeypatch).steer_strings


def test_json_mode_takes_any_object_without_a_schema() -> None:
    assert model('{"x": [1]}').with_structured_output(method="json_mode").invoke("x") == {"x": [1]}


FORMATS: dict[str, Any] = {
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "p", "schema": UNTITLED, "strict": True},
    },
    "json_object": {"type": "json_object"},
    "flat": {"type": "json_schema", "name": "p", "schema": UNTITLED},
    "class": Person,
}


@pytest.mark.parametrize("form", FORMATS)
def test_openais_response_formats_are_followed(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = json_output_of(model().bind(response_format=FORMATS[form]), monkeypatch)
    expected = {
        "json_schema": {**UNTITLED, "additionalProperties": False},
        "json_object": {"type": "object"},
        "flat": UNTITLED,
    }
    assert asked.json_schema == expected.get(form, Person.model_json_schema())


def test_text_is_no_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json_output_of(model().bind(response_format={"type": "text"}), monkeypatch) is None


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no schema": ({"schema": None}, PromptError, "json_schema"),
    "no method": ({"schema": Person, "method": "magic"}, PromptError, "'magic'"),
    "misspelt": ({"schema": Person, "inclde_raw": True}, UnknownArgumentError, "inclde_raw"),
    "no type": ({"schema": 5}, PromptError, "5"),
    "beyond grammars": (
        {"schema": {"title": "x", "type": "integer", "divisibleBy": 3}},
        UnsupportedGrammarError,
        "'divisibleBy'.* multipleOf",
    ),
    "no keyword": ({"schema": {"title": "x"}}, PromptError, "no JSON schema"),
    "an empty schema": ({"schema": {}}, PromptError, "no JSON schema"),
    "a function of no parameters": ({"schema": {"name": "x"}}, PromptError, "no JSON schema"),
    "no tools in json mode": (
        {"schema": Person, "method": "json_mode", "tools": []},
        PromptError,
        "tools=",
    ),
    "a choice of one's own": (
        {"schema": Person, "method": "function_calling", "tool_choice": "auto"},
        PromptError,
        "tool_choice= is set",
    ),
    "several calls": (
        {"schema": Person, "method": "function_calling", "parallel_tool_calls": True},
        PromptError,
        "parallel_tool_calls= is set",
    ),
    "a format of one's own": (
        {"schema": Person, "response_format": {"type": "text"}},
        PromptError,
        "response_format= is set",
    ),
    "tools in json mode": (
        {"schema": Person, "method": "json_mode", "tools": [look_up]},
        PromptError,
        "tools=",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_asked_for_is_refused_at_once(bad: str) -> None:
    options, kind, said = BAD[bad]
    with pytest.raises(kind, match=said):
        model().with_structured_output(**options)


@pytest.mark.parametrize("wanted", ["json", {"type": "xml"}, {"type": "json_schema"}], ids=str)
def test_a_response_format_of_no_form_is_refused(wanted: Any) -> None:
    with pytest.raises(PromptError, match="response_format"):
        model().invoke(QUESTION, response_format=wanted)


@pytest.mark.parametrize(
    "text",
    ['{"name": "Ann", "age": 7', '{"name": "An', "Sorry.", "[1]", '{"name": "Ann", "age": NaN}'],
)
async def test_what_is_no_such_object_is_an_error_and_never_half_of_one(text: str) -> None:
    llm = model(text).with_structured_output(Person)
    with pytest.raises(OutputParserException):
        llm.invoke(QUESTION)
    with pytest.raises(OutputParserException):
        list(llm.stream(QUESTION))
    with pytest.raises(OutputParserException):
        await llm.ainvoke(QUESTION)


@pytest.mark.parametrize("text", ['{"name": "Ann", "age": 7', '{"name": "Ann", "age": NaN}'])
def test_dicts_that_break_off_are_an_error_too(text: str) -> None:
    llm = model(text).with_structured_output(UNTITLED)
    with pytest.raises(OutputParserException):
        llm.invoke(QUESTION)
    with pytest.raises(OutputParserException):
        list(llm.stream(QUESTION))


def test_an_answer_without_a_call_is_an_error() -> None:
    llm = model("Well.").with_structured_output(Person, method="function_calling")
    with pytest.raises(OutputParserException, match="calls no tool"):
        llm.invoke(QUESTION)


@pytest.mark.parametrize("method", METHODS)
def test_the_raw_answer_may_be_included(method: Any) -> None:
    llm = model(written(method, Person))
    found = llm.with_structured_output(Person, method=method, include_raw=True).invoke(QUESTION)
    assert found["parsed"] == Person(**FOUND)
    assert found["parsing_error"] is None
    assert found["raw"].response_metadata["finish_reason"] in {"stop", "tool_calls"}


def test_a_raw_answer_tells_what_was_wrong_with_it() -> None:
    llm = model('{"name": "Ann"}').with_structured_output(Person, include_raw=True)
    found = llm.invoke(QUESTION)
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)
    assert found["raw"].text == '{"name": "Ann"}'


def test_an_answer_that_the_engine_could_not_finish_is_no_parsing_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from amulet_integrations.errors import IncompleteOutputError

    def fail(*_: Any, **__: Any) -> Any:
        raise IncompleteOutputError("no room")

    monkeypatch.setattr(ScriptedEngine, "_steps", fail)
    with pytest.raises(IncompleteOutputError):
        model().with_structured_output(Person, include_raw=True).invoke(QUESTION)


def test_tools_may_be_called_instead() -> None:
    llm = model(call("look_up", {"name": "Ann"}))
    found = llm.with_structured_output(Person, tools=[look_up], include_raw=True).invoke(QUESTION)
    assert found["parsed"] is None
    assert found["parsing_error"] is None
    assert [made["name"] for made in found["raw"].tool_calls] == ["look_up"]


def test_streaming_turned_off_gives_the_object_at_once() -> None:
    for method in METHODS:
        llm = model(written(method, Person)).model_copy(update={"disable_streaming": True})
        found = list(llm.with_structured_output(Person, method=method).stream(QUESTION))  # type: ignore[arg-type]
        assert found == [Person(**FOUND)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", WRAPPED)
def test_a_schema_in_openais_wrapper_is_the_schema(form: str, method: Any) -> None:
    bare = {"title": "person", **UNTITLED}
    wrapped: Any = model().with_structured_output(WRAPPED[form], method=method)
    assert wrapped.first.kwargs == model().with_structured_output(bare, method=method).first.kwargs  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["bare", "flat"])
def test_the_wrapper_says_whether_it_is_strict(form: str) -> None:
    strict: Any = model().with_structured_output({**WRAPPED[form], "strict": True})
    told: Any = model().with_structured_output({"title": "person", **UNTITLED}, strict=True)
    assert strict.first.kwargs == told.first.kwargs


NAMES: list[tuple[Any, str, Any]] = [
    (Tree, "Tree", {"name": "Ann", "children": [{"name": "Bob", "children": []}]}),
    (Tree.model_json_schema(), "answer", {"name": "Ann", "children": []}),
    (OldTree, "OldTree", {"name": "Ann", "child": {"name": "Bob", "child": None}}),
    ({"name": "who", **UNTITLED}, "who", FOUND),
    ({**UNTITLED, "title": None}, "answer", FOUND),
]


@pytest.mark.parametrize(("schema", "name", "answer"), NAMES, ids=["v2", "dict", "v1", "name", "-"])
def test_the_tool_to_call_is_named_after_any_schema(schema: Any, name: str, answer: Any) -> None:
    llm = model(call(name, answer))
    found = llm.with_structured_output(schema, method="function_calling").invoke(QUESTION)
    if isinstance(found, BaseModel):
        found = found.model_dump()
    assert (found.dict() if isinstance(found, BaseModelV1) else found) == answer
    engine: Any = llm.engine
    (alternative,) = engine.requests[-1].alternatives
    assert '"name' in alternative.grammar.replace("\\", "")


def test_an_old_model_is_as_it_was_however_often_it_is_used() -> None:
    before = deepcopy(OldPerson.schema())
    for method in METHODS * 2:
        model().with_structured_output(OldPerson, method=method)  # type: ignore[arg-type]
    assert OldPerson.schema() == before


def is_begun_by(whole: Any, part: Any) -> bool:
    """Whether `part` is what may have been told of `whole` so far."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return list(whole)[: len(part)] == list(part) and all(
            is_begun_by(whole[key], part[key]) for key in part
        )
    if isinstance(whole, list) and isinstance(part, list):
        return len(part) <= len(whole) and all(map(is_begun_by, whole, part))
    if isinstance(whole, str) and isinstance(part, str):
        return whole.startswith(part)
    return whole == part or (isinstance(whole, int) and str(whole).startswith(str(part)))


VALUES = st.recursive(
    st.text(st.sampled_from('aé😀"\\\n/u'), max_size=6) | st.integers() | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from('ab"\\é'), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    found=st.fixed_dictionaries({"name": VALUES}),
    ascii_only=st.booleans(),
    sizes=st.lists(st.integers(1, 5), min_size=1),
    method=st.sampled_from(["json_schema", "function_calling"]),
)
def test_streamed_dicts_only_grow(
    found: Any, ascii_only: bool, sizes: list[int], method: Any
) -> None:
    body = json.dumps(found, ensure_ascii=ascii_only)
    text, cuts = body, [0]
    if method == "function_calling":
        text = f'<tool_call>\n{{"name": "answer", "arguments": {body}}}\n</tool_call>'
    while cuts[-1] < len(text):
        cuts.append(cuts[-1] + sizes[len(cuts) % len(sizes)])
    pieces = [text[start:end] for start, end in pairwise(cuts)]
    llm = ChatAmulet(engine=ScriptedEngine(pieces))
    told = list(llm.with_structured_output({"type": "object"}, method=method).stream(QUESTION))
    assert told[-1] == found
    for sooner, later in pairwise(told):
        assert is_begun_by(later, sooner)


@pytest.mark.parametrize("schema", [Person, UNTITLED], ids=["instance", "dict"])
@pytest.mark.parametrize("text", [TEXT, '{"name": "Ann"', "Sorry."])
@pytest.mark.parametrize("method", METHODS)
async def test_raw_answers_stream_to_what_invoke_returns(
    schema: Any, text: str, method: Any
) -> None:
    if text == TEXT:
        text = written(method, schema)
    llm = model(text).with_structured_output(schema, method=method, include_raw=True)
    whole = llm.invoke(QUESTION)
    astreamed = [chunk async for chunk in llm.astream(QUESTION)]
    for total in (reduce(add, llm.stream(QUESTION)), reduce(add, astreamed)):
        assert total["raw"].text == whole["raw"].text
        assert repr(total["parsing_error"]) == repr(whole["parsing_error"])
        assert total["parsed"] == whole["parsed"]
    assert (whole["parsed"] is None) == isinstance(whole["parsing_error"], OutputParserException)


def test_the_last_raw_chunk_of_a_bad_answer_takes_back_what_was_read_of_it() -> None:
    llm = model('{"name": "Ann"').with_structured_output(UNTITLED, include_raw=True)
    chunks = list(llm.stream(QUESTION))
    assert {"name": "Ann"} in [chunk.get("parsed") for chunk in chunks]
    assert chunks[-1]["parsed"] is None


@pytest.mark.parametrize("method", METHODS)
def test_stop_strings_do_not_cut_objects(chat: Callable[..., ChatAmulet], method: Any) -> None:
    llm = chat(max_tokens=120, stop=("name", "{", '"'))
    found = llm.with_structured_output(Tree, method=method).invoke(QUESTION)
    assert isinstance(found, Tree)
