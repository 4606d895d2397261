"""What the wrappers for LangChain and LlamaIndex have in common, under the same names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain.agents import create_agent
from langchain_core import messages as lc
from langchain_core.tools import tool as langchain_tool
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization.validated_call import ValidatedCall

QUESTION = "What is the sea?"


@dataclass(frozen=True)
class Turn:
    """One message. An assistant's turn may call the tool `depth`; a tool's turn answers it."""

    role: str
    text: str
    call: dict[str, Any] | None = None


ASK = (Turn("user", QUESTION),)


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    text: str
    calls: list[dict[str, Any]] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    model: str | None = None
    applied: Mapping[str, Any] = field(default_factory=dict)


Ask = Callable[..., Answer]
"""(llm, turns, **arguments of the call) -> Answer"""


class Wrapper(Protocol):
    """One wrapper.

    Attributes:
        name: Its class.
        chats: Ways to ask with a conversation.
        completions: Ways to ask with one text, given as one turn.
        streams: Ways to open a stream with a conversation and arguments of a call; the stream can
            be iterated and closed.
        other_streams: Further ways, which take no arguments.
        astreams: Ways to open an async stream, likewise; they return a coroutine.
        other_astreams: Further ways, which take no arguments.
        awaited: Coroutine functions of the model, which decode until they are cancelled.
        other_awaited: Further ones, whose answers may end early.
        checks: Ways to validate a call with a conversation and arguments.
    """

    name: str
    chats: Mapping[str, Ask]
    completions: Mapping[str, Ask]
    streams: Mapping[str, Callable[..., Any]]
    other_streams: Mapping[str, Callable[..., Any]]
    astreams: Mapping[str, Callable[..., Any]]
    other_astreams: Mapping[str, Callable[..., Any]]
    awaited: Mapping[str, Callable[[Any], Any]]
    other_awaited: Mapping[str, Callable[[Any], Any]]
    checks: Mapping[str, Callable[..., ValidatedCall]]

    def make(self, **settings: Any) -> Any:
        """The model."""

    def tool(self, description: str = "Looks up how deep a sea is.") -> Any:
        """The tool `depth(sea: str)`, as the framework describes tools."""

    def delta(self, chunk: Any) -> str:
        """The text that a chunk adds."""


def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


class Word(BaseModel):
    """One word."""

    word: str = Field(max_length=8)


async def collect(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def _sum(chunks: Sequence[Any]) -> Any:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


class LangChain:
    """`ChatAmulet`."""

    name = "ChatAmulet"
    completions: Mapping[str, Ask] = {}

    def __init__(self) -> None:
        ways: dict[str, Callable[..., Any]] = {
            "invoke": lambda llm, asked, **call: llm.invoke(asked, **call),
            "stream": lambda llm, asked, **call: _sum(list(llm.stream(asked, **call))),
            "batch": lambda llm, asked, **call: llm.batch([asked], **call)[0],
            "ainvoke": lambda llm, asked, **call: asyncio.run(llm.ainvoke(asked, **call)),
            "astream": lambda llm, asked, **call: _sum(
                asyncio.run(collect(llm.astream(asked, **call)))
            ),
            "abatch": lambda llm, asked, **call: asyncio.run(llm.abatch([asked], **call))[0],
        }
        self.chats = {name: self._asking(way) for name, way in ways.items()}
        self.streams = {
            "stream": lambda llm, turns, **call: llm.stream(self._messages(turns), **call)
        }
        self.other_streams = {
            "bind_tools": lambda llm, turns: self._free(llm).stream(self._messages(turns))
        }

        async def astream(llm: Any, turns: Sequence[Turn], **call: Any) -> Any:
            return llm.astream(self._messages(turns), **call)

        async def events(llm: Any) -> Any:
            stream = await llm.astream_events(QUESTION, version="v3")
            return await stream.output

        self.astreams = {"astream": astream}
        self.other_astreams = {"bind_tools": lambda llm, turns: astream(self._free(llm), turns)}
        awaited: dict[str, Callable[[Any], Any]] = {
            "ainvoke": lambda llm: llm.ainvoke(QUESTION),
            "astream": lambda llm: collect(llm.astream(QUESTION)),
            "astream_events": lambda llm: collect(llm.astream_events(QUESTION, version="v2")),
            "abatch": lambda llm: llm.abatch([QUESTION, QUESTION]),
            "agent": lambda llm: create_agent(llm, []).ainvoke({"messages": [("user", QUESTION)]}),
            "chain": lambda llm: (llm | (lambda answer: answer.text)).ainvoke(QUESTION),
        }
        self.awaited = awaited | {
            f"{name}, tools": self._with_tools(way) for name, way in awaited.items()
        }
        self.other_awaited = {
            "agenerate": lambda llm: llm.agenerate([self._messages(ASK)]),
            "astream_events v3": events,
            "structured": lambda llm: llm.with_structured_output(Word).ainvoke(QUESTION),
        }
        self.checks = {
            "validate": lambda llm, turns, **call: llm.validate(self._messages(turns), **call),
            "avalidate": lambda llm, turns, **call: asyncio.run(
                llm.avalidate(self._messages(turns), **call)
            ),
            "bound": lambda llm, turns, **call: llm.bind(**call).validate(self._messages(turns)),
        }

    def _free(self, llm: Any) -> Any:
        """With a tool that is not called: the random model would soon end a call of its own."""
        return llm.bind_tools([self.tool()], tool_choice="none")

    def _with_tools(self, way: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda llm: way(self._free(llm))

    def make(self, **settings: Any) -> ChatAmulet:
        return ChatAmulet(**settings)

    def tool(self, description: str = "Looks up how deep a sea is.") -> Any:
        return langchain_tool(description=description)(depth)

    def delta(self, chunk: Any) -> str:
        return str(chunk.text)

    def _asking(self, way: Callable[..., Any]) -> Ask:
        def ask(llm: Any, turns: Sequence[Turn], **call: Any) -> Answer:
            message = way(llm, self._messages(turns), **call)
            return Answer(
                text=message.text,
                calls=[made["args"] for made in message.tool_calls],
                prompt_tokens=message.usage_metadata["input_tokens"],
                completion_tokens=message.usage_metadata["output_tokens"],
                finish_reason=message.response_metadata["finish_reason"],
                model=message.response_metadata["model_name"],
                applied=message.response_metadata["amulet"],
            )

        return ask

    def _messages(self, turns: Sequence[Turn]) -> list[lc.BaseMessage]:
        return [self._message(turn) for turn in turns]

    def _message(self, turn: Turn) -> lc.BaseMessage:
        if turn.role == "tool":
            return lc.ToolMessage(turn.text, tool_call_id="1")
        if turn.call is not None:
            call = lc.ToolCall(name="depth", args=turn.call, id="1")
            return lc.AIMessage(turn.text, tool_calls=[call])
        kinds = {"system": lc.SystemMessage, "user": lc.HumanMessage, "assistant": lc.AIMessage}
        return kinds[turn.role](turn.text)


class LlamaIndex:
    """`AmuletLLM`."""

    name = "AmuletLLM"

    def __init__(self) -> None:
        self.chats = {
            name: self._asking(way, self._messages) for name, way in self._ways("chat").items()
        }
        self.completions = {
            name: self._asking(way, lambda turns: turns[0].text)
            for name, way in self._ways("complete").items()
        }
        self.streams = {
            "stream_chat": lambda llm, turns, **call: llm.stream_chat(
                self._messages(turns), **call
            ),
            "stream_complete": lambda llm, turns, **call: llm.stream_complete(
                turns[-1].text, **call
            ),
        }
        prompt, tool = PromptTemplate(QUESTION), self.tool()
        self.other_streams = {
            "stream": lambda llm, _: llm.stream(prompt),
            "stream_chat_with_tools": lambda llm, _: llm.stream_chat_with_tools(
                [tool], QUESTION, tool_choice="none"
            ),
        }

        self.astreams = {
            "astream_chat": lambda llm, turns, **call: llm.astream_chat(
                self._messages(turns), **call
            ),
            "astream_complete": lambda llm, turns, **call: llm.astream_complete(
                turns[-1].text, **call
            ),
        }
        self.other_astreams = {
            "astream": lambda llm, _: llm.astream(prompt),
            "astream_chat_with_tools": lambda llm, _: llm.astream_chat_with_tools([tool], QUESTION),
        }

        async def opened(stream: Any) -> list[Any]:
            return await collect(await stream)

        self.awaited = {
            "acomplete": lambda llm: llm.acomplete(QUESTION),
            "achat": lambda llm: llm.achat(self._messages(ASK)),
            "astream_complete": lambda llm: opened(llm.astream_complete(QUESTION)),
            "astream_chat": lambda llm: opened(llm.astream_chat(self._messages(ASK))),
            "apredict": lambda llm: llm.apredict(prompt),
            "astream": lambda llm: opened(llm.astream(prompt)),
            "achat_with_tools": lambda llm: llm.achat_with_tools(
                [tool], QUESTION, tool_choice="none"
            ),
        }
        self.other_awaited = {
            "astream_chat_with_tools": lambda llm: opened(
                llm.astream_chat_with_tools([tool], QUESTION)
            ),
            "apredict_and_call": lambda llm: llm.apredict_and_call(
                [tool], QUESTION, tool_required=True
            ),
            "astructured_predict": lambda llm: llm.astructured_predict(Word, prompt),
            "astream_structured_predict": lambda llm: opened(
                llm.astream_structured_predict(Word, prompt)
            ),
            "structured model": lambda llm: llm.as_structured_llm(Word).achat(self._messages(ASK)),
            "structured model, stream": lambda llm: opened(
                llm.as_structured_llm(Word).astream_complete(QUESTION)
            ),
        }

        async def avalidated(llm: Any, turns: Sequence[Turn], **call: Any) -> ValidatedCall:
            return await llm.avalidate(self._messages(turns), **call)  # type: ignore[no-any-return]

        self.checks = {
            "validate": lambda llm, turns, **call: llm.validate(self._messages(turns), **call),
            "avalidate": lambda llm, turns, **call: asyncio.run(avalidated(llm, turns, **call)),
        }

    def make(self, **settings: Any) -> AmuletLLM:
        return AmuletLLM(**settings)

    def tool(self, description: str = "Looks up how deep a sea is.") -> Any:
        return FunctionTool.from_defaults(depth, description=description)

    def delta(self, chunk: Any) -> str:
        return str(chunk.delta)

    def _ways(self, method: str) -> dict[str, Callable[..., Any]]:
        async def awhole(llm: Any, asked: Any, **call: Any) -> Any:
            return await getattr(llm, f"a{method}")(asked, **call)

        async def alast(llm: Any, asked: Any, **call: Any) -> Any:
            return (await collect(await getattr(llm, f"astream_{method}")(asked, **call)))[-1]

        return {
            method: lambda llm, asked, **call: getattr(llm, method)(asked, **call),
            f"stream_{method}": lambda llm, asked, **call: list(
                getattr(llm, f"stream_{method}")(asked, **call)
            )[-1],
            f"a{method}": lambda llm, asked, **call: asyncio.run(awhole(llm, asked, **call)),
            f"astream_{method}": lambda llm, asked, **call: asyncio.run(alast(llm, asked, **call)),
        }

    def _asking(self, way: Callable[..., Any], convert: Callable[..., Any]) -> Ask:
        def ask(llm: Any, turns: Sequence[Turn], **call: Any) -> Answer:
            response = way(llm, convert(turns), **call)
            message = getattr(response, "message", None)
            blocks = message.blocks if message else []
            calls = [it.tool_kwargs for it in blocks if isinstance(it, ToolCallBlock)]
            return Answer(
                text=(message.content or "") if message else response.text,
                calls=[dict(made) for made in calls if isinstance(made, dict)],
                prompt_tokens=response.raw["usage"]["prompt_tokens"],
                completion_tokens=response.raw["usage"]["completion_tokens"],
                finish_reason=response.raw["finish_reason"],
                model=response.raw["model"],
                applied=response.raw["amulet"],
            )

        return ask

    def _messages(self, turns: Sequence[Turn]) -> list[ChatMessage]:
        return [self._message(turn) for turn in turns]

    def _message(self, turn: Turn) -> ChatMessage:
        if turn.role == "tool":
            more = {"tool_call_id": "1"}
            return ChatMessage(role="tool", content=turn.text, additional_kwargs=more)
        blocks: list[Any] = [TextBlock(text=turn.text)]
        if turn.call is not None:
            blocks.append(ToolCallBlock(tool_call_id="1", tool_name="depth", tool_kwargs=turn.call))
        return ChatMessage(role=turn.role, blocks=blocks)


WRAPPERS: tuple[Wrapper, ...] = (LangChain(), LlamaIndex())


def each(*kinds: str) -> Iterator[tuple[str, Wrapper, Any]]:
    """Every way of these kinds (`chats`, `streams`, ...), of both wrappers, with its name."""
    for wrapper in WRAPPERS:
        for kind in kinds:
            for name, way in getattr(wrapper, kind).items():
                yield f"{wrapper.name}.{name}", wrapper, way
