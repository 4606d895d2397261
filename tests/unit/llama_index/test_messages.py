"""LlamaIndex's messages as the engine gets them."""

from __future__ import annotations

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from amulet_integrations.errors import PromptError
from tests.unit.llama_index.support import by_hand, said, small_llm

TALK = [("system", "Be kind."), ("user", "Hi."), ("assistant", "Hello."), ("user", "Sea?")]


@pytest.mark.parametrize("system", ["system", "developer"])
@pytest.mark.parametrize("assistant", ["assistant", "chatbot", "model"])
def test_every_turn_is_read(tiny_engine, system, assistant):
    turns = [(system, "Be kind."), TALK[1], (assistant, "Hello."), TALK[3]]
    response = small_llm(tiny_engine).chat(said(*turns))
    assert response.message.content == by_hand(tiny_engine, turns=TALK).text


def test_text_blocks_are_joined_and_silent_blocks_skipped(tiny_engine):
    blocks = [
        TextBlock(text="one"),
        CachePoint(cache_control=CacheControl(type="ephemeral")),
        ThinkingBlock(content="hm"),
        TextBlock(text="two"),
    ]
    response = small_llm(tiny_engine).chat([ChatMessage(role="user", blocks=blocks)])
    expected = by_hand(tiny_engine, turns=[("user", "one\ntwo")])
    assert response.message.content == expected.text


@pytest.mark.parametrize(
    ("block", "named"),
    [
        (ImageBlock(image=b"aGk="), "'image'"),
        (DocumentBlock(data=b"aGk=", title="t"), "'document'"),
        (ToolCallBlock(tool_name="t"), "'tool_call'"),
    ],
)
def test_other_blocks_are_refused(tiny_engine, block, named):
    message = ChatMessage(role="user", blocks=[TextBlock(text="what is it?"), block])
    with pytest.raises(PromptError, match=rf"messages\[0\].*{named}"):
        small_llm(tiny_engine).chat([message])


@pytest.mark.parametrize("role", ["tool", "function"])
def test_tools_messages_are_refused(tiny_engine, role):
    with pytest.raises(PromptError, match=rf"messages\[1\].*'{role}'"):
        small_llm(tiny_engine).chat(said(("user", "hi"), (role, "42")))


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "empty"),
        ("hello", "str"),
        (None, "NoneType"),
        (["hello"], r"messages\[0\] is a str"),
        (said(("system", "x")), "user message"),
        (said(("user", " ")), "blank"),
    ],
)
def test_what_is_no_conversation_is_refused(tiny_engine, messages, told):
    with pytest.raises(PromptError, match=told):
        small_llm(tiny_engine).chat(messages)
