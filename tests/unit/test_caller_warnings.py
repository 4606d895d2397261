"""Warnings about a conversation are shown once for each line, and nothing is kept for good."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole

from amulet_integrations import caller_warnings
from amulet_integrations.errors import AmuletWarning, UnreadableContentWarning
from amulet_integrations.langchain.messages import to_chat_messages
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine


def show_langchain(url: str) -> None:
    seen = ToolMessage([{"type": "image", "url": url}], tool_call_id="1")
    calling = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    # LangChain's own methods change the filters, so Python shows everything again.
    to_chat_messages([HumanMessage("x"), calling, seen])


def show_llama_index(url: str) -> None:
    shown = ChatMessage(role=MessageRole.ASSISTANT, blocks=[ImageBlock(url=url)])
    asked = ChatMessage(role=MessageRole.USER, content="x")
    AmuletLLM(engine=ScriptedEngine()).chat([asked, shown, asked])


@pytest.mark.parametrize("show", [show_langchain, show_llama_index])
def test_an_image_is_reported_once_for_each_line_by_an_own_class(
    show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_warnings, "MOST_REMEMBERED", 3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for name in ("a", "a", "b", "b", "a"):
            show(f"https://a.b/{name}.png")
        assert [it.category for it in seen] == [UnreadableContentWarning] * 2
        assert {it.filename for it in seen} == {__file__}
        for number in range(10):
            show(f"https://a.b/{number}.png")
        assert len(seen) == 12
        assert len(caller_warnings._shown) < 10
        show("https://a.b/a.png")  # on another line
    assert issubclass(UnreadableContentWarning, AmuletWarning)
    # Python's own record of warnings keeps each message for good.
    assert not any(".png" in str(key) for key in globals().get("__warningregistry__", {}))
