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


CALL = {"name": "f", "args": {}, "id": "1"}


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ([ToolMessage("4", tool_call_id="1")], "ToolMessage"),
        ([FunctionMessage("4", name="f")], "FunctionMessage"),
        ([HumanMessage("x"), AIMessage("", tool_calls=[CALL])], "tool calls"),
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


@pytest.mark.parametrize("nonsense", [5, [("robot", "x")], [{"no": "role"}], [object()]], ids=str)
async def test_an_input_that_is_no_conversation_is_refused(llm: ChatAmulet, nonsense: Any) -> None:
    with pytest.raises(PromptError, match="no conversation"):
        llm.invoke(nonsense)
    with pytest.raises(PromptError, match="no conversation"):
        await llm.ainvoke(nonsense)
