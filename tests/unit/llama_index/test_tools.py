"""Tools: how prompts describe them, which calls come back, and what is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Generic, TypeVar

import pytest
from jsonschema import Draft202012Validator
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel, Field

from amulet_integrations import preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    AmuletError,
    ContextLengthError,
    NoToolCallError,
    PromptError,
    UnsupportedGrammarError,
)
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.llama_index.recorders import SECRET
from tests.unit.llama_index.support import (
    ANN,
    BOB,
    QUESTION,
    chat_messages,
    engine_result,
    store_of_two,
)

ASK = "What is 2 and 3?"


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def shout(text: str, times: int = 1) -> str:
    """Says it loud."""
    return text.upper() * times


def fail(reason: str) -> str:
    """Fails."""
    raise RuntimeError(f"Out of {reason}.")


ADD, SHOUT, FAIL = (FunctionTool.from_defaults(function) for function in (add, shout, fail))
BOTH = {"add": ADD, "shout": SHOUT}

Content = TypeVar("Content")


class Box(BaseModel, Generic[Content]):
    """Opens a box."""

    content: Content


class Tree(BaseModel):
    """Plants a tree."""

    kind: str = Field(max_length=5)
    branches: list[Tree] = Field(default=[], max_length=1)


def opened(content: int) -> str:
    return f"found {content}"


BOX = FunctionTool.from_defaults(
    opened, name="Box[int]", description="Opens a box.", fn_schema=Box[int]
)


def written(*calls: tuple[str, Any]) -> str:
    """Calls in the form that the tiny model's prompt asks for."""
    return "\n".join(
        "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"
        for name, arguments in calls
    )


TWO: list[tuple[str, Any]] = [("add", {"a": 2, "b": -35}), ("shout", {"text": 'hé "x" {\n'})]


def scripted(*texts: str, **settings: Any) -> AmuletLLM:
    return AmuletLLM(engine=ScriptedEngine(texts or ("Well.",)), **settings)


def prompts_of(llm: AmuletLLM, request: int = -1) -> list[str]:
    engine: Any = llm.engine
    return [engine.tokenizer.decode(ids) for ids in engine.requests[request].contexts]


@pytest.fixture(scope="module")
def roomy():
    """An engine whose window holds the descriptions of several tools."""
    with make_tiny_engine(max_position_embeddings=2048) as engine:
        yield engine


@pytest.fixture
def llm(roomy: LocalEngine):
    return AmuletLLM(engine=roomy, max_tokens=150)


async def all_four(llm: AmuletLLM, *args: Any, **kwargs: Any) -> list[ChatResponse]:
    stream = await llm.astream_chat_with_tools(*args, **kwargs)
    return [
        llm.chat_with_tools(*args, **kwargs),
        list(llm.stream_chat_with_tools(*args, **kwargs))[-1],
        await llm.achat_with_tools(*args, **kwargs),
        [response async for response in stream][-1],
    ]


def calls_of(response: ChatResponse) -> list[tuple[str, Any]]:
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    return [(block.tool_name, block.tool_kwargs) for block in blocks]


def check_calls(response: ChatResponse) -> None:
    """Fails unless both places have the same calls, which follow the schemas and can be stored."""
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    assert blocks
    for block, call in zip(blocks, response.message.additional_kwargs["tool_calls"], strict=True):
        function = call["function"]
        assert (call["id"], call["type"]) == (block.tool_call_id, "function")
        assert function["name"] == block.tool_name
        assert json.loads(function["arguments"]) == block.tool_kwargs
        schema = BOTH[block.tool_name].metadata.get_parameters_dict()
        Draft202012Validator(schema).validate(block.tool_kwargs)
    assert len({block.tool_call_id for block in blocks}) == len(blocks)
    assert response.raw["finish_reason"] == "tool_calls"
    assert ChatResponse.model_validate_json(response.model_dump_json()) == response


def without_ids(response: ChatResponse) -> dict[str, Any]:
    dumped = response.model_dump(exclude={"delta", "logprobs"})
    for block in dumped["message"]["blocks"]:
        block.pop("tool_call_id", None)
    for call in dumped["message"]["additional_kwargs"].get("tool_calls", ()):
        call.pop("id")
    return dumped


async def test_every_method_describes_the_tools_in_every_context():
    llm = scripted(preference=ANN)
    await all_four(llm, [ADD, SHOUT], ASK)
    engine: Any = llm.engine
    assert len(engine.requests) == 4
    for place in range(4):
        plain, preferring = prompts_of(llm, place)
        for prompt in (plain, preferring):
            for part in ('"add"', '"a"', "Adds two numbers.", '"shout"', '"times"', ASK):
                assert part in prompt
        assert (ANN in plain, ANN in preferring) == (False, True)


FORCING: dict[str, tuple[dict[str, Any], set[str]]] = {
    "tool_required": ({"tool_required": True}, {"add", "shout"}),
    "any": ({"tool_choice": "any"}, {"add", "shout"}),
    "required": ({"tool_choice": "required"}, {"add", "shout"}),
    "True": ({"tool_choice": True}, {"add", "shout"}),
    "a name": ({"tool_choice": "shout"}, {"shout"}),
    "another name": ({"tool_choice": "add"}, {"add"}),
    "OpenAI's dict": (
        {"tool_choice": {"type": "function", "function": {"name": "shout"}}},
        {"shout"},
    ),
    "a name that is required": ({"tool_choice": "add", "tool_required": True}, {"add"}),
}


@pytest.mark.parametrize("forcing", FORCING)
async def test_a_forced_call_is_made_and_follows_its_schema(llm, forcing):
    arguments, names = FORCING[forcing]
    responses = await all_four(llm, [ADD, SHOUT], ASK, **arguments)
    for response in responses:
        check_calls(response)
        assert response.message.role == MessageRole.ASSISTANT
        assert not response.message.content
        assert [name in names for name, _ in calls_of(response)] == [True]
        assert without_ids(response) == without_ids(responses[0])


@pytest.mark.parametrize("choice", ["none", False])
async def test_a_model_that_must_not_call_writes_text_and_still_knows_the_tools(llm, choice):
    for response in await all_four(llm, [ADD], ASK, tool_choice=choice):
        assert calls_of(response) == []
        assert response.message.content
    llm_of_script = scripted()
    llm_of_script.chat_with_tools([ADD], ASK, tool_choice=choice)
    assert "Adds two numbers." in prompts_of(llm_of_script)[0]


@pytest.mark.parametrize("choice", [None, "auto"])
async def test_a_free_model_writes_text_or_calls(choice):
    for response in await all_four(scripted("Well", "."), [ADD], ASK, tool_choice=choice):
        assert calls_of(response) == []
        assert response.message.content == "Well."
        assert response.raw["finish_reason"] == "stop"
        assert response.message.additional_kwargs == {}
    calling = scripted("So. ", written(*TWO))
    for response in await all_four(calling, [ADD, SHOUT], ASK, tool_choice=choice):
        assert calls_of(response) == TWO
        assert response.message.content == "So."
        check_calls(response)


@pytest.mark.parametrize("lead", ["", "Let me see. "])
def test_a_stream_of_calls_only_grows_and_ends_as_the_whole_answer(lead):
    text = lead + written(*TWO)
    llm = scripted(*text)
    responses = list(llm.stream_chat_with_tools([ADD, SHOUT], ASK, allow_parallel_tool_calls=True))
    check_growth(responses)
    assert len({json.dumps(calls_of(response)) for response in responses}) > 8
    assert "".join(response.delta for response in responses) == lead.strip()
    whole = llm.chat_with_tools([ADD, SHOUT], ASK, allow_parallel_tool_calls=True)
    assert calls_of(whole) == TWO
    assert without_ids(responses[-1]) == without_ids(whole)


async def test_a_forced_call_of_a_real_engine_only_grows_as_well(llm):
    stream = await llm.astream_chat_with_tools([SHOUT], ASK, tool_required=True)
    responses = [response async for response in stream]
    check_growth(responses)
    assert len({json.dumps(calls_of(response)) for response in responses}) > 3
    assert all(response.raw is None for response in responses[:-1])


def check_growth(responses: list[ChatResponse]) -> None:
    for before, after in pairwise(responses):
        was, now = (
            [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
            for response in (before, after)
        )
        assert [(b.tool_name, b.tool_call_id) for b in was] == [
            (b.tool_name, b.tool_call_id) for b in now[: len(was)]
        ]
        assert all(begins(b.tool_kwargs, n.tool_kwargs) for b, n in zip(was, now, strict=False))
        texts = [
            [call["function"]["arguments"] for call in calls]
            for calls in (
                response.message.additional_kwargs.get("tool_calls", [])
                for response in (before, after)
            )
        ]
        assert all(new.startswith(old) for old, new in zip(*texts, strict=False) if old != "{}")


def begins(part: Any, whole: Any) -> bool:
    """Whether JSON could still become the other one by being written on."""
    if isinstance(part, dict):
        names = list(part)
        return names == list(whole)[: len(names)] and all(
            begins(part[name], whole[name]) for name in names
        )
    return str(whole).startswith(str(part))


@pytest.mark.parametrize(
    ("choice", "parallel", "several"),
    [
        ({"tool_required": True}, True, True),
        ({"tool_required": True}, False, False),
        ({"tool_choice": "any"}, True, True),
        ({"tool_choice": "add"}, True, False),
        ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, True, False),
    ],
    ids=str,
)
def test_several_calls_are_made_only_where_they_are_allowed(llm, choice, parallel, several):
    response = llm.chat_with_tools(
        [ADD],
        ASK,
        allow_parallel_tool_calls=parallel,
        max_tokens=400,
        min_new_tokens=120,
        **choice,
    )
    check_calls(response)
    assert (len(calls_of(response)) > 1) == several


async def test_a_tool_whose_name_a_model_cannot_write_comes_back_under_its_own(llm):
    for response in await all_four(llm, [BOX], ASK, tool_required=True):
        ((name, arguments),) = calls_of(response)
        assert name == "Box[int]"
        Box[int].model_validate(arguments)
        function = response.message.additional_kwargs["tool_calls"][0]["function"]
        assert function["name"] == "Box[int]"
    answers = [
        llm.predict_and_call([BOX], ASK, tool_required=True),
        await llm.apredict_and_call([BOX], ASK, tool_required=True),
    ]
    for answer in answers:
        assert answer.response == f"found {answer.sources[0].raw_input['kwargs']['content']}"
        assert answer.sources[0].tool_name == "Box[int]"


@pytest.mark.parametrize(
    "choice", ["Box[int]", {"type": "function", "function": {"name": "Box[int]"}}], ids=str
)
def test_a_tool_can_be_chosen_by_the_name_that_llama_index_knows(llm, choice):
    response = llm.chat_with_tools([BOX, ADD], ASK, tool_choice=choice)
    assert [name for name, _ in calls_of(response)] == ["Box[int]"]


def planted(**fields: Any) -> Tree:
    return Tree(**fields)


def test_a_class_of_recursive_fields_is_a_tool(llm):
    tool = FunctionTool.from_defaults(planted, name="plant", description="Plants.", fn_schema=Tree)
    for seed in range(3):
        response = llm.chat_with_tools(
            [tool], ASK, tool_required=True, temperature=1.5, seed=seed, max_tokens=300
        )
        ((name, arguments),) = calls_of(response)
        assert name == "plant"
        assert tool(**arguments).raw_output == Tree.model_validate(arguments, strict=True)
    deep = {"kind": "oak", "branches": [{"kind": "elm", "branches": [{"kind": "ash"}]}]}
    scripted_llm = scripted(written(("plant", deep)))
    assert calls_of(scripted_llm.chat_with_tools([tool], ASK)) == [("plant", deep)]
    assert '"branches"' in prompts_of(scripted_llm)[0]


async def test_the_tools_of_programs_are_called_without_tool_required(llm):
    for made_of in (Box[int], Tree):
        tool = get_function_tool(made_of)
        for response in await all_four(llm, [tool], ASK):
            ((name, arguments),) = calls_of(response)
            assert name == made_of.__name__
            made_of.model_validate(arguments)
    for answer in await predicted(llm, [get_function_tool(Box[int])], ASK):
        assert isinstance(answer.sources[0].raw_output, Box[int])


def test_openais_dicts_are_tools(llm):
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
    }
    tool = {"type": "function", "function": {"name": "pick", "parameters": schema}}
    ((name, arguments),) = calls_of(llm.chat_with_tools([tool], ASK, tool_required=True))
    assert name == "pick"
    Draft202012Validator(schema).validate(arguments)
    chat = chat_messages(("user", ASK))
    assert calls_of(llm.chat(chat, tools=[tool], tool_choice="pick")) == [(name, arguments)]


def test_a_tool_given_twice_is_described_once():
    llm = scripted()
    llm.chat_with_tools([ADD, FunctionTool.from_defaults(add)], ASK)
    assert prompts_of(llm)[0].count('"name": "add"') == 1


def with_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


OTHER_ADD = FunctionTool.from_defaults(shout, name="add")
NAMELESS = FunctionTool(fn=add, metadata=ToolMetadata(description="Adds.", name=None))
BEYOND = with_schema("f", {"type": "object", "properties": {"x": {"disallow": "string"}}})

BAD: dict[str, tuple[Any, dict[str, Any], type[AmuletError], str]] = {
    "unknown name": ([ADD, SHOUT], {"tool_choice": "sub"}, PromptError, "'sub'.*add, shout"),
    "unknown name in a dict": (
        [ADD],
        {"tool_choice": {"type": "function", "function": {"name": "sub"}}},
        PromptError,
        "'sub'.*add",
    ),
    "choice of no form": ([ADD], {"tool_choice": {"x": 1}}, PromptError, "tool_choice"),
    "choice among none": ([], {"tool_choice": "any"}, PromptError, "no tools"),
    "required among none": ([], {"tool_required": True}, PromptError, "no tools"),
    "two of a name": ([ADD, OTHER_ADD], {}, PromptError, "'add'"),
    "a function": ([add], {}, PromptError, "FunctionTool.from_defaults"),
    "a number": ([5], {}, PromptError, "5 is no tool"),
    "a dict that describes nothing": ([{"type": "web_search"}], {}, PromptError, "web_search"),
    "no name": ([NAMELESS], {}, PromptError, "no name"),
    "no list": (5, {}, PromptError, "tools is a int"),
    "no object": ([with_schema("f", {"type": "string"})], {}, PromptError, "object"),
    "schema beyond grammars": ([BEYOND], {}, UnsupportedGrammarError, "'f'.*disallow"),
    "nothing to answer": ([ADD], {"user_msg": None}, PromptError, "user_msg="),
    "no message": ([ADD], {"user_msg": 5}, PromptError, "int"),
}
WAYS = [
    "chat_with_tools",
    "stream_chat_with_tools",
    "achat_with_tools",
    "astream_chat_with_tools",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", BAD)
async def test_what_cannot_be_used_is_refused_by_the_call_before_anything_is_computed(way, bad):
    tools, arguments, kind, message = BAD[bad]
    llm = scripted()
    with pytest.raises(kind, match=message):
        getattr(llm, way)(tools, **{"user_msg": ASK, **arguments})
    engine: Any = llm.engine
    assert not engine.requests


@pytest.mark.parametrize("way", ["chat", "stream_chat", "achat", "astream_chat"])
@pytest.mark.parametrize("bad", [bad for bad in BAD if "user_msg" not in BAD[bad][1]])
async def test_chats_refuse_the_same_tools(way, bad):
    tools, arguments, kind, message = BAD[bad]
    if "tool_required" in arguments:
        arguments = {"tool_choice": "required"}
    llm = scripted()
    with pytest.raises(kind, match=message):
        getattr(llm, way)(chat_messages(("user", ASK)), tools=tools, **arguments)
    engine: Any = llm.engine
    assert not engine.requests


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
@pytest.mark.parametrize("bad", BAD)
async def test_predictions_refuse_the_same(way, bad):
    tools, arguments, kind, message = BAD[bad]
    llm = scripted()
    with pytest.raises(kind, match=message):
        await _result(getattr(llm, way)(tools, **{"user_msg": ASK, **arguments}))
    engine: Any = llm.engine
    assert not engine.requests


async def _result(answer: Any) -> Any:
    return await answer if asyncio.iscoroutine(answer) else answer


BROKEN = {
    "cut in a string": ('{"name": "shout", "arguments": {"text": "he', ""),
    "cut in an object": ('{"name": "add", "arguments": {"a": 1', ""),
    "unknown tool": ('{"name": "destroy", "arguments": {"a": 1}}', "\n</tool_call>"),
    "arguments that are no object": ('{"name": "add", "arguments": [1, 2]}', "\n</tool_call>"),
    "no JSON": ("add(1, 2)", "\n</tool_call>"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("cut", [list, lambda text: [text]], ids=["letters", "whole"])
async def test_a_call_that_cannot_be_made_is_shown_and_is_none(broken, cut):
    text, end = BROKEN[broken]
    llm = scripted(*cut(f"<tool_call>\n{text}{end}"))
    for response in await all_four(llm, [ADD, SHOUT], ASK):
        assert calls_of(response) == []
        assert "tool_calls" not in response.message.additional_kwargs
        assert response.message.content == text
        assert response.raw["finish_reason"] == "stop"
        (invalid,) = response.raw["invalid_tool_calls"]
        assert invalid["text"] == text
        assert invalid["error"]
        json.dumps(response.raw)
    with pytest.raises(NoToolCallError):
        llm.predict_and_call([ADD, SHOUT], ASK)


UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


async def test_a_call_that_fails_its_tools_schema_is_none():
    tool = with_schema("f", {"type": "object", "properties": {"v": UNIQUE}})
    llm = scripted(written(("f", {"v": [1, 2]})))
    for response in await all_four(llm, [tool], ASK):
        assert calls_of(response) == [("f", {"v": [1, 2]})]
    llm = scripted(written(("f", {"v": [1, 1]})))
    for response in await all_four(llm, [tool], ASK):
        assert calls_of(response) == []
        (invalid,) = response.raw["invalid_tool_calls"]
        assert "$.v" in invalid["error"]


def count(numbers: set[int]) -> int:
    """Counts numbers."""
    return len(numbers)


def test_a_function_that_takes_a_set_is_called():
    llm = scripted(written(("count", {"numbers": [1, 1]})))
    answer = llm.predict_and_call([FunctionTool.from_defaults(count)], ASK)
    assert answer.sources[0].raw_input["kwargs"] == {"numbers": [1, 1]}


async def test_a_call_that_cannot_be_made_hides_no_other():
    llm = scripted(written(TWO[0], ("destroy", {})))
    for response in await all_four(llm, [ADD], ASK):
        assert calls_of(response) == [TWO[0]]
        assert response.message.content == '{"name": "destroy", "arguments": {}}'
        assert [call["name"] for call in response.raw["invalid_tool_calls"]] == ["destroy"]
        assert response.raw["finish_reason"] == "tool_calls"


def test_selections_are_the_calls_of_a_response():
    message = ChatMessage(
        role="assistant",
        blocks=[
            TextBlock(text="Let me see."),
            ToolCallBlock(tool_call_id="x", tool_name="add", tool_kwargs={"a": 1, "b": 2}),
            ToolCallBlock(tool_name="shout", tool_kwargs={"text": "hi"}),
        ],
    )
    selections = scripted().get_tool_calls_from_response(ChatResponse(message=message))
    assert [(one.tool_id, one.tool_name, one.tool_kwargs) for one in selections] == [
        ("x", "add", {"a": 1, "b": 2}),
        ("", "shout", {"text": "hi"}),
    ]


@pytest.mark.parametrize("kind", [NoToolCallError, ValueError, AmuletError])
def test_a_response_without_calls_is_an_error_where_calls_are_wanted(kind):
    response = ChatResponse(message=ChatMessage(role="assistant", content="Well."))
    with pytest.raises(kind, match="tool_required=True"):
        scripted().get_tool_calls_from_response(response)
    given = scripted().get_tool_calls_from_response(response, error_on_no_tool_call=False)
    assert given == []


async def predicted(llm: AmuletLLM, *args: Any, **kwargs: Any) -> list[Any]:
    return [
        llm.predict_and_call(*args, **kwargs),
        await llm.apredict_and_call(*args, **kwargs),
    ]


@pytest.mark.parametrize("user_msg", [ASK, ChatMessage(role="user", content=ASK)], ids=type)
async def test_a_prediction_gives_what_the_tool_gives(user_msg):
    llm = scripted(written(TWO[0]))
    for answer in await predicted(llm, [ADD, SHOUT], user_msg):
        assert answer.response == "-33"
        (source,) = answer.sources
        assert (source.tool_name, source.raw_output, source.is_error) == ("add", -33, False)
    assert ASK in prompts_of(llm)[0]


async def test_a_prediction_has_the_chat_history():
    llm = scripted(written(TWO[0]))
    history = chat_messages(("user", "Hello, sea."), ("assistant", "Hi!"))
    await predicted(llm, [ADD], ASK, history)
    await predicted(llm, [ADD], chat_history=[*history, *chat_messages(("user", ASK))])
    engine: Any = llm.engine
    prompts = {prompts_of(llm, place)[0] for place in range(4)}
    assert len(engine.requests) == 4
    (prompt,) = prompts
    assert prompt.index("Hello, sea.") < prompt.index("Hi!") < prompt.index(ASK)


async def test_predictions_make_all_calls_where_several_are_allowed():
    llm = scripted(written(TWO[0], ("shout", {"text": "hi", "times": 2})))
    for answer in await predicted(llm, [ADD, SHOUT], ASK, allow_parallel_tool_calls=True):
        assert answer.response == "-33\n\nHIHI"
        assert [source.tool_name for source in answer.sources] == ["add", "shout"]


async def test_a_prediction_without_a_call_is_text_or_an_error():
    llm = scripted("Five.")
    for answer in await predicted(llm, [ADD], ASK, error_on_no_tool_call=False):
        assert (answer.response, answer.sources) == ("Five.", [])
    with pytest.raises(NoToolCallError):
        llm.predict_and_call([ADD], ASK)
    with pytest.raises(NoToolCallError):
        await llm.apredict_and_call([ADD], ASK)


async def test_the_error_of_a_tool_is_returned_or_raised():
    llm = scripted(written(("fail", {"reason": "sea"})))
    for answer in await predicted(llm, [FAIL], ASK):
        assert "Out of sea." in answer.response
        assert answer.sources[0].is_error
    with pytest.raises(ValueError, match=r"Out of sea\."):
        llm.predict_and_call([FAIL], ASK, error_on_tool_error=True)
    with pytest.raises(ValueError, match=r"Out of sea\."):
        await llm.apredict_and_call([FAIL], ASK, error_on_tool_error=True)


async def test_arguments_of_a_call_reach_the_engine_from_every_way():
    llm = scripted()
    arguments = {"temperature": 0.5, "max_tokens": 7, "seed": 3}
    await all_four(llm, [ADD], ASK, **arguments)
    await predicted(llm, [ADD], ASK, error_on_no_tool_call=False, **arguments)
    engine: Any = llm.engine
    assert len(engine.requests) == 6
    for request in engine.requests:
        sampling = request.sampling
        assert (sampling.temperature, sampling.max_new_tokens, sampling.seed) == (0.5, 7, 3)


@pytest.mark.parametrize("way", WAYS)
def test_tools_are_refused_where_prompts_are_written_whole(way):
    llm = scripted(messages_to_prompt=lambda messages: "whole")
    with pytest.raises(PromptError, match="messages_to_prompt"):
        getattr(llm, way)([ADD], ASK)
    assert not llm.metadata.is_function_calling_model


@pytest.mark.parametrize("formatted", [True, False])
@pytest.mark.parametrize("way", ["complete", "stream_complete", "acomplete", "astream_complete"])
def test_completions_take_no_tools(way, formatted):
    with pytest.raises(AmuletError, match="'tools'"):
        getattr(scripted(), way)(ASK, formatted=formatted, tools=[ADD])


def test_a_prompt_too_long_for_the_window_is_refused_with_the_numbers(tiny_engine):
    with pytest.raises(ContextLengthError, match="640"):
        AmuletLLM(engine=tiny_engine).chat_with_tools([ADD, SHOUT, FAIL, BOX], ASK)


@pytest.mark.parametrize("level", ["call", "scope", "for_user", "constructor"])
def test_a_preference_changes_prose_and_no_forced_call(roomy, level):
    plain = AmuletLLM(engine=roomy, max_tokens=150, profiles=store_of_two())
    expected = calls_of(plain.chat_with_tools([ADD, SHOUT], ASK, tool_required=True))
    own = {
        "for_user": plain.for_user("ann"),
        "constructor": plain.model_copy(update={"preference": ANN}),
    }.get(level, plain)
    named: dict[str, Any] = {"preference": ANN} if level == "call" else {}
    with preference_scope(user_id="ann") if level == "scope" else nullcontext():
        forced = own.chat_with_tools([ADD, SHOUT], ASK, tool_required=True, **named)
        prose = own.complete(QUESTION, max_tokens=12, **named)
    assert forced.raw["amulet"]["method"] == "amulet"
    assert calls_of(forced) == expected
    assert prose.text == engine_result(roomy, ANN).text != engine_result(roomy).text


async def test_no_handler_receives_the_preference_of_a_call_with_tools(watched):
    events, spans, callbacks = watched
    llm = scripted(written(TWO[0]), callback_manager=CallbackManager([callbacks]))
    call = {"preference": SECRET, "temperature": 0.25}
    await all_four(llm, [ADD], ASK, **call)
    await predicted(llm, [ADD], ASK, **call)
    engine: Any = llm.engine
    assert len(engine.requests) == 6
    assert all(SECRET in prompts_of(llm, place)[1] for place in range(6))
    recorded = [repr(event) + event.model_dump_json() for event in events.seen]
    recorded += [repr(seen) for seen in callbacks.seen] + spans.recorded
    assert len(callbacks.seen) >= 12
    assert len(events.seen) >= 12
    assert not any(SECRET in text for text in recorded)
    assert any("0.25" in text for text in spans.recorded)


@pytest.mark.parametrize("user", [None, "ann", "bob"])
async def test_calls_with_tools_follow_the_user_who_asked_wherever_they_are_read(user):
    llm = scripted(written(TWO[0]), profiles=store_of_two())
    with preference_scope(user_id=user) if user else preference_scope(preference=ANN):
        stream = llm.stream_chat_with_tools([ADD], ASK)
        answer = llm.achat_with_tools([ADD], ASK)
        astream = llm.astream_chat_with_tools([ADD], ASK)
        predicting = llm.apredict_and_call([ADD], ASK)
    with preference_scope(user_id="bob" if user != "bob" else "ann"):
        list(stream)
        await answer
        assert [response async for response in await astream]
        await predicting
    engine: Any = llm.engine
    assert len(engine.requests) == 4
    wanted, other = (BOB, ANN) if user == "bob" else (ANN, BOB)
    for place in range(4):
        _, preferring = prompts_of(llm, place)
        assert wanted in preferring
        assert other not in preferring
