"""LangChain's messages in, this package's messages out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from langchain_core import messages as lc

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.blocks import (
    Block,
    Result,
    block_call,
    block_reasoning,
    block_result,
    block_text,
    is_of_no_account,
)
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.tools.tool_use import ToolCall

Role = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def to_chat_messages(messages: Sequence[lc.BaseMessage]) -> list[ChatMessage]:
    """Translates a conversation.

    Args:
        messages: System, human, AI, tool and chat messages, with text or lists of blocks. Names of
            people and cache marks are passed over; artifacts of tools are not shown.

    Raises:
        PromptError: A message of another kind, or a block that a text model cannot read.
    """
    translation = _Translation()
    return [shown for message in messages for shown in translation.of(message)]


class _Translation:
    """One conversation, with what later messages refer to."""

    def __init__(self) -> None:
        self._names: dict[str | None, str] = {}
        self._broken: set[str | None] = set()

    def of(self, message: lc.BaseMessage) -> Iterator[ChatMessage]:
        if isinstance(message, lc.ToolMessage):
            failed = message.status == "error"
            text = "".join(_texts(message))
            yield self._result(Result(message.tool_call_id, text, failed), message.name)
        elif isinstance(message, lc.AIMessage):
            yield self._answer(message)
        elif isinstance(message, lc.HumanMessage):
            yield from self._said(message)
        else:
            yield ChatMessage(role=_role(message), content="".join(_texts(message)))

    def _answer(self, message: lc.AIMessage) -> ChatMessage:
        if "function_call" in message.additional_kwargs and not message.tool_calls:
            raise PromptError(
                "An AI message holds a function_call of OpenAI's old form. Put it into the "
                "message's tool_calls, with an id, and its result into a ToolMessage."
            )
        calls = tuple(_calls(message))
        self._names.update({call.id: call.name for call in calls})
        content = "".join(_texts(message))
        for invalid in message.invalid_tool_calls:
            # What the model wrote; it is no call, but the complaint that follows is about it.
            self._broken.add(invalid["id"])
            content += f"{invalid['name'] or ''} {invalid['args'] or ''}".strip()
        more: dict[str, Any] = {"tool_calls": calls} if calls else {}
        if reasoning := _reasoning(message):
            more["reasoning"] = reasoning
        return ChatMessage(role="assistant", content=content, **more)

    def _said(self, message: lc.HumanMessage) -> Iterator[ChatMessage]:
        """A human message; results of tools in it become messages of their own."""
        text: list[str] = []
        results = 0
        for block in _blocks(message):
            if (result := block_result(block, message)) is None:
                text.append(_text(block, message))
                continue
            results += 1
            if "".join(text).strip():
                yield ChatMessage(role="user", content="".join(text))
            text = []
            yield self._result(result, None)
        if not results or "".join(text).strip():
            yield ChatMessage(role="user", content="".join(text))

    def _result(self, result: Result, name: str | None) -> ChatMessage:
        content = result.content
        if result.failed and not content.lower().startswith("error"):
            content = f"Error: {content}"
        if result.call_id in self._broken:
            # Tools answer calls only, and this one was none.
            return ChatMessage(role="user", content=content)
        name = name or self._names.get(result.call_id)
        more = {"name": name} if name else {}
        return ChatMessage(role="tool", content=content, tool_call_id=result.call_id, **more)


def _role(message: lc.BaseMessage) -> Role:
    if isinstance(message, lc.SystemMessage):
        return "system"
    if isinstance(message, lc.ChatMessage) and message.role in _ROLES:
        return _ROLES[message.role]
    kind = type(message).__name__
    if isinstance(message, lc.ChatMessage):
        kind += f" of role {message.role!r}"
    raise PromptError(
        f"A {kind} cannot be shown to this model. Use SystemMessage, HumanMessage, AIMessage, "
        "ToolMessage, or a ChatMessage of role 'system', 'user' or 'assistant'."
    )


def _blocks(message: lc.BaseMessage) -> list[Block]:
    content = [message.content] if isinstance(message.content, str) else message.content
    return [block for block in content if not is_of_no_account(block)]


def _texts(message: lc.BaseMessage) -> Iterator[str]:
    for block in _blocks(message):
        if not isinstance(message, lc.AIMessage) or not _is_about_the_answer(block):
            yield _text(block, message)


def _text(block: Block, message: lc.BaseMessage) -> str:
    return block_text(block, type(message).__name__)


def _is_about_the_answer(block: Block) -> bool:
    return block_call(block) is not None or block_reasoning(block) is not None


def _calls(message: lc.AIMessage) -> Iterator[ToolCall]:
    """The calls of a message, and those that stand in its blocks only."""
    told = {call["id"] for call in message.tool_calls + message.invalid_tool_calls}
    for call in message.tool_calls:
        yield ToolCall(name=call["name"], arguments=call["args"], id=call["id"])
    for block in _blocks(message):
        found = block_call(block)
        if found and (only := ToolCall(**found)).id not in told:
            yield only


def _reasoning(message: lc.AIMessage) -> str:
    told = message.additional_kwargs.get("reasoning_content")
    if isinstance(told, str) and told:
        return told
    return "\n\n".join(filter(None, map(block_reasoning, _blocks(message))))
