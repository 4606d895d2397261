"""Which conversations reach the model, and how they are written."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def llm(engine: ScriptedEngine) -> ChatAmulet:
    return ChatAmulet(engine=engine)


def prompt_of(engine: ScriptedEngine) -> str:
    return engine.tokenizer.decode(engine.requests[-1].contexts[0])


def test_a_conversation_keeps_its_turns(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    llm.invoke([SystemMessage("Sys."), HumanMessage("One"), AIMessage("Two"), ("human", "Three")])
    assert prompt_of(engine) == (
        "<|im_start|>system\nSys.<|im_end|>\n<|im_start|>user\nOne<|im_end|>\n"
        "<|im_start|>assistant\nTwo<|im_end|>\n<|im_start|>user\nThree<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("Plain", "user\nPlain"),
        ([ChatMessage(role="user", content="Hi")], "user\nHi"),
        ([ChatMessage(role="system", content="Sys."), HumanMessage("x")], "system\nSys."),
        ([HumanMessage("x"), ChatMessage(role="assistant", content="So")], "assistant\nSo"),
        ([HumanMessage("x"), AIMessageChunk("So")], "assistant\nSo"),
        ([HumanMessage(["a", {"type": "text", "text": "b"}])], "user\nab"),
        ([{"role": "user", "content": [{"type": "text", "text": "b", "id": "1"}]}], "user\nb"),
    ],
    ids=str,
)
def test_what_is_written(
    llm: ChatAmulet, engine: ScriptedEngine, message: Any, written: str
) -> None:
    llm.invoke(message)
    assert f"<|im_start|>{written}" in prompt_of(engine)


def test_a_conversation_may_end_with_the_assistant(llm: ChatAmulet) -> None:
    assert llm.invoke([HumanMessage("One"), AIMessage("Two")]).text == "Well."


CALL = {"name": "f", "args": {"x": "hé"}, "id": "1"}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "4"}]}
CALLING = AIMessage("", tool_calls=[CALL])
TOOL_USE = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": "hé"}}
ASKED = HumanMessage("x")

EXCHANGES: dict[str, list[BaseMessage]] = {
    "tool call and message": [ASKED, CALLING, ToolMessage("4", tool_call_id="1")],
    "list": [
        ASKED,
        CALLING,
        ToolMessage([{"type": "text", "text": "4"}], tool_call_id="1"),
    ],
    "artifact": [ASKED, CALLING, ToolMessage("4", tool_call_id="1", artifact="hidden")],
    "anthropic": [ASKED, AIMessage([TOOL_USE]), HumanMessage([RESULT])],  # type: ignore[list-item]
    "anthropic and tool calls": [
        ASKED,
        AIMessage([TOOL_USE], tool_calls=[CALL]),  # type: ignore[list-item]
        ToolMessage("4", tool_call_id="1"),
    ],
    "v1": [
        ASKED,
        AIMessage(content_blocks=[{"type": "tool_call", **CALL}]),  # type: ignore[typeddict-item]
        ToolMessage("4", tool_call_id="1"),
    ],
    "responses": [
        ASKED,
        AIMessage(
            [{"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"x": "hé"}'}]
        ),
        HumanMessage([{"type": "function_call_output", "call_id": "1", "output": "4"}]),
    ],
}


@pytest.mark.parametrize("form", EXCHANGES)
def test_calls_and_results_of_every_form_are_shown_alike(
    llm: ChatAmulet, engine: ScriptedEngine, form: str
) -> None:
    llm.invoke(EXCHANGES["tool call and message"])
    expected = prompt_of(engine)
    assert '{"name": "f", "arguments": {"x": "hé"}}' in expected
    assert "4" in expected.split('"hé"')[1]
    llm.invoke(EXCHANGES[form])
    assert prompt_of(engine) == expected


def test_text_beside_a_result_stays_the_users(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    said = {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}}
    llm.invoke([ASKED, CALLING, HumanMessage([RESULT, said])])
    assert "<|im_start|>user\nGo on.<|im_end|>" in prompt_of(engine)


def test_a_failed_tool_is_told_to_have_failed(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    failed = {"tool_call_id": "1", "status": "error"}
    llm.invoke([ASKED, CALLING, ToolMessage("no net", **failed)])
    assert "Error: no net" in prompt_of(engine)
    llm.invoke([ASKED, CALLING, ToolMessage("Error: no net", **failed)])
    assert "Error: Error" not in prompt_of(engine)


def test_a_broken_call_is_shown_as_text_and_its_complaint_as_the_users(
    llm: ChatAmulet, engine: ScriptedEngine
) -> None:
    broken = {"name": "f", "args": '{"x": ', "id": "9", "error": "cut"}
    complaint = ToolMessage("Not JSON.", tool_call_id="9")
    llm.invoke([ASKED, AIMessage("", invalid_tool_calls=[broken]), complaint])  # type: ignore[list-item]
    assert prompt_of(engine).endswith(
        '<|im_start|>assistant\nf {"x":<|im_end|>\n<|im_start|>user\nNot JSON.<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
        [{"type": "reasoning", "reasoning": "Hm."}],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}],
        [{"type": "redacted_thinking", "data": "x"}],
    ],
    ids=str,
)
def test_thoughts_are_no_part_of_what_was_said(
    llm: ChatAmulet, engine: ScriptedEngine, blocks: Any
) -> None:
    answer = AIMessage([*blocks, {"type": "text", "text": "Hello."}])
    llm.invoke([ASKED, answer, HumanMessage("y")])
    assert "<|im_start|>assistant\nHello.<|im_end|>" in prompt_of(engine)


def test_names_of_people_are_passed_over(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    llm.invoke([HumanMessage("x", name="ann")])
    assert "ann" not in prompt_of(engine)


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ([HumanMessage("x"), ToolMessage("4", tool_call_id="77")], "77"),
        ([HumanMessage("x"), CALLING, ToolMessage("4", tool_call_id="77")], "77"),
        (
            [
                HumanMessage("x"),
                CALLING,
                ToolMessage([{"type": "image", "base64": "x"}], tool_call_id="1"),
            ],
            "ToolMessage.*image",
        ),
        ([FunctionMessage("4", name="f")], "FunctionMessage"),
        (
            [
                HumanMessage("x"),
                AIMessage("", additional_kwargs={"function_call": {"name": "f"}}),
                FunctionMessage("4", name="f"),
            ],
            "function_call",
        ),
        ([HumanMessage("x"), AIMessage([{**TOOL_USE, "input": "{"}])], "'f'.*JSON"),
        ([ChatMessage(role="critic", content="x")], "'critic'"),
        ([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])], "image_url"),
        ([HumanMessage([{"type": "audio", "base64": "x", "mime_type": "a/b"}])], "audio"),
        ([HumanMessage([{"type": "file", "file_id": "x"}])], "file"),
        ([], "empty"),
        ([SystemMessage("Sys.")], "user"),
        ("", "blank"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_refused_with_its_reason(
    llm: ChatAmulet, engine: ScriptedEngine, conversation: list[BaseMessage], said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        llm.invoke(conversation)
    with pytest.raises(PromptError, match=said):
        list(llm.stream(conversation))
    assert not engine.requests


@pytest.mark.parametrize(
    "nonsense",
    [5, [("robot", "x")], [{"no": "role"}], [object()]],
    ids=["number", "unknown role", "no role", "object"],
)
async def test_an_input_that_is_no_conversation_is_refused(llm: ChatAmulet, nonsense: Any) -> None:
    with pytest.raises(PromptError, match="no conversation"):
        llm.invoke(nonsense)
    with pytest.raises(PromptError, match="no conversation"):
        await llm.ainvoke(nonsense)
