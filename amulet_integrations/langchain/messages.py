"""LangChain's messages in, this package's messages out.

Message content may hold blocks in the forms of LangChain, OpenAI and Anthropic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core import messages as lc

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.content_text import join_texts
from amulet_integrations.prompting.tools.tool_use import ToolCall

from .content_blocks import Block, as_blocks, kind_of, text_of_blocks

Role = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_CALL_KEYS = {"tool_use": "input", "tool_call": "args", "function_call": "arguments"}
_RESULT_KEYS = {"tool_result": "tool_use_id", "function_call_output": "call_id"}
# Reasoning that only its provider can read, and parts of calls that the message has whole.
_IGNORED = {"redacted_thinking", "input_json_delta", "tool_call_chunk", "invalid_tool_call"}


def to_chat_messages(messages: Sequence[lc.BaseMessage]) -> tuple[ChatMessage, ...]:
    """Converts a conversation.

    Args:
        messages: System, human, AI, tool and chat messages, with text or lists of blocks. Names of
            people, cache marks and artifacts of tools are ignored. What a text model cannot read in
            the answers of models and tools is named in its place, with a warning.

    Raises:
        PromptError: A message of another kind; or a system or human message holds a block that a
            text model cannot read.
    """
    conversion = _Conversion()
    return tuple(converted for message in messages for converted in conversion.of(message))


class _Conversion:
    """One conversation, with the calls that later messages refer to."""

    def __init__(self) -> None:
        self._names: dict[str | None, str] = {}
        self._invalid_ids: set[str | None] = set()

    def of(self, message: lc.BaseMessage) -> Iterator[ChatMessage]:
        if isinstance(message, lc.ToolMessage):
            yield self._tool_message(message)
        elif isinstance(message, lc.AIMessage):
            yield self._ai_message(message)
        elif isinstance(message, lc.HumanMessage):
            yield from self._human_message(message)
        else:
            yield ChatMessage(role=_role(message), content=_text(message))

    def _ai_message(self, message: lc.AIMessage) -> ChatMessage:
        if "function_call" in message.additional_kwargs and not message.tool_calls:
            raise PromptError(
                "An AI message holds a function_call of OpenAI's old form. Put it into the "
                "message's tool_calls, with an id, and its result into a ToolMessage."
            )
        calls = tuple(_calls(message))
        self._names.update({call.id: call.name for call in calls})
        content = _text(message)
        for invalid in message.invalid_tool_calls:
            # Shown as text, because the error message that follows is about it.
            self._invalid_ids.add(invalid["id"])
            written = f"{invalid['name'] or ''} {invalid['args'] or ''}".strip()
            content = join_texts([content, written])
        more: dict[str, Any] = {"tool_calls": calls} if calls else {}
        if reasoning := _reasoning(message):
            more["reasoning"] = reasoning
        return ChatMessage(role="assistant", content=content, **more)

    def _human_message(self, message: lc.HumanMessage) -> Iterator[ChatMessage]:
        """A human message; tool results in it become messages of their own."""
        kind = type(message).__name__
        said: list[Block] = []
        turns: list[ChatMessage] = []
        for block in _blocks(message):
            result = _block_result(block, kind)
            if result is None:
                said.append(block)
                continue
            turns += _user_turns(said, kind)
            turns.append(self._tool_message(result))
            said = []
        turns += _user_turns(said, kind)
        yield from turns or [ChatMessage(role="user", content="")]

    def _tool_message(self, result: lc.ToolMessage) -> ChatMessage:
        content = _text(result)
        if result.status == "error" and not content.lower().startswith("error"):
            content = f"Error: {content}"
        if result.tool_call_id in self._invalid_ids:
            # Tool messages answer valid calls only.
            return ChatMessage(role="user", content=content)
        name = result.name or self._names.get(result.tool_call_id)
        more = {"name": name} if name else {}
        return ChatMessage(role="tool", content=content, tool_call_id=result.tool_call_id, **more)


def _role(message: lc.BaseMessage) -> Role:
    if isinstance(message, lc.SystemMessage):
        return "system"
    kind = type(message).__name__
    if isinstance(message, lc.ChatMessage):
        if message.role in _ROLES:
            return _ROLES[message.role]
        kind += f" of role {message.role!r}"
    raise PromptError(
        f"A {kind} cannot be shown to this model. Use SystemMessage, HumanMessage, AIMessage, "
        "ToolMessage, or a ChatMessage of role 'system', 'user' or 'assistant'."
    )


def _user_turns(said: Sequence[Block], owner: str) -> list[ChatMessage]:
    """A user's turn, unless it is blank."""
    content = text_of_blocks(said, owner, strict=True)
    return [ChatMessage(role="user", content=content)] if content.strip() else []


def _blocks(message: lc.BaseMessage) -> list[Block]:
    content = [message.content] if isinstance(message.content, str) else message.content
    return [block for block in content if not _is_ignored(block)]


def _text(message: lc.BaseMessage) -> str:
    blocks = _blocks(message)
    if isinstance(message, lc.AIMessage):
        blocks = [it for it in blocks if _block_call(it) is None and _block_reasoning(it) is None]
    is_strict = not isinstance(message, lc.AIMessage | lc.ToolMessage)
    return text_of_blocks(blocks, type(message).__name__, strict=is_strict)


def _calls(message: lc.AIMessage) -> Iterator[ToolCall]:
    """The calls of a message, and those that are in its blocks only."""
    known = {call["id"] for call in message.tool_calls + message.invalid_tool_calls}
    for call in message.tool_calls:
        yield ToolCall(name=call["name"], arguments=call["args"], id=call["id"])
    for block in _blocks(message):
        if (found := _block_call(block)) and found.id not in known:
            yield found


def _reasoning(message: lc.AIMessage) -> str:
    reasoning = message.additional_kwargs.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        return reasoning
    return "\n\n".join(filter(None, map(_block_reasoning, _blocks(message))))


def _is_ignored(block: Block) -> bool:
    is_cache_mark = isinstance(block, dict) and block.keys() == {"cachePoint"}
    return is_cache_mark or kind_of(block) in _IGNORED


def _block_call(block: Block) -> ToolCall | None:
    """The tool call that a block is; None for other blocks.

    Raises:
        PromptError: Its name or arguments are not valid.
    """
    key = _CALL_KEYS.get(kind_of(block))
    if isinstance(block, str) or key is None:
        return None
    arguments = block.get(key) or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"The call of {block.get('name')!r} in a block has {key} that are no JSON object. Give "
            "the arguments as a dict."
        )
    call_id = block.get("call_id") or block.get("id")
    return ToolCall(name=block.get("name"), arguments=dict(arguments), id=call_id)


def _block_result(block: Block, owner: str) -> lc.ToolMessage | None:
    """The message of a block that is the result of a tool; None for other blocks.

    Raises:
        PromptError: It contains neither a text nor blocks.
    """
    key = _RESULT_KEYS.get(kind_of(block))
    if isinstance(block, str) or key is None:
        return None
    owner = f"{owner}'s tool result"
    held = (block[name] for name in ("content", "output") if block.get(name) is not None)
    parts = as_blocks(next(held, ""))
    if parts is None:
        raise PromptError(
            f"A {owner} is neither a text nor a list of blocks. Give the tool's output as a string."
        )
    text = text_of_blocks(parts, owner, strict=False)
    status = "error" if block.get("is_error") else "success"
    return lc.ToolMessage(text, tool_call_id=str(block.get(key)), status=status)


def _block_reasoning(block: Block) -> str | None:
    """The reasoning that a block is; None for other blocks."""
    if isinstance(block, str) or kind_of(block) not in {"thinking", "reasoning"}:
        return None
    for key in ("thinking", "reasoning"):
        if isinstance(block.get(key), str):
            return str(block[key])
    summary = block.get("summary")
    parts = summary if isinstance(summary, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
