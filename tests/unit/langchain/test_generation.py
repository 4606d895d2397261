"""Callbacks, rate limiters, stop strings, seeds and batches, with what is bound to a model.

What both wrappers promise is in tests/contract/test_wrappers.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool

from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine
from tests.support.stepped import SteppedEngine

QUESTION = "What is the sea?"
Make = Callable[..., ChatAmulet]
Ask = Callable[..., Any]


def merged(chunks: list[Any]) -> Any:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


async def _astream(llm: Any, asked: Any, **call: Any) -> Any:
    return merged([chunk async for chunk in llm.astream(asked, **call)])


WAYS: dict[str, Ask] = {
    "invoke": lambda llm, asked, **call: llm.invoke(asked, **call),
    "stream": lambda llm, asked, **call: merged(list(llm.stream(asked, **call))),
    "batch": lambda llm, asked, **call: llm.batch([asked], **call)[0],
    "ainvoke": lambda llm, asked, **call: asyncio.run(llm.ainvoke(asked, **call)),
    "astream": lambda llm, asked, **call: asyncio.run(_astream(llm, asked, **call)),
    "abatch": lambda llm, asked, **call: asyncio.run(llm.abatch([asked], **call))[0],
}
every_way = pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


@every_way
@pytest.mark.parametrize(
    ("name", "value", "field"),
    [("temperature", 0.9, "temperature"), ("max_tokens", 4, "max_new_tokens"), ("seed", 6, "seed")],
)
def test_bound_settings_reach_the_engine(name: str, value: Any, field: str, ask: Ask) -> None:
    engine = ScriptedEngine()
    ask(ChatAmulet(engine=engine).bind(**{name: value}), QUESTION)
    assert [getattr(request.sampling, field) for request in engine.requests] == [value]


class Limiter(BaseRateLimiter):
    """Lets everybody pass, and counts them."""

    def __init__(self) -> None:
        self.passed = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.passed += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@every_way
def test_a_rate_limiter_is_asked_once_for_each_answer(ask: Ask) -> None:
    limiter = Limiter()
    llm = ChatAmulet(engine=ScriptedEngine(), rate_limiter=limiter)
    ask(llm, QUESTION)
    ask(llm.bind_tools([depth]), QUESTION)
    assert limiter.passed == 2


class Listener(BaseCallbackHandler):
    """Keeps the chunks that callbacks are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:
        self.told.append((token, chunk))


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_callbacks_are_told_each_token_and_each_part_of_a_call(way: str) -> None:
    written = 'So.\n<tool_call>\n{"name": "depth", "arguments": {"sea": "Red"}}\n</tool_call>'
    listener = Listener()
    llm = ChatAmulet(engine=ScriptedEngine(list(written)), callbacks=[listener])
    answer = WAYS[way](llm.bind_tools([depth]), QUESTION)
    told = merged([chunk.message for _, chunk in listener.told])
    assert "".join(token for token, _ in listener.told) == answer.text
    assert told.tool_calls == answer.tool_calls
    assert [call["args"] for call in answer.tool_calls] == [{"sea": "Red"}]
    assert sum(bool(chunk.message.tool_call_chunks) for _, chunk in listener.told) > 3


@every_way
def test_stop_strings_of_several_tokens_end_the_answer_and_are_not_left_in_it(
    chat: Make, ask: Ask
) -> None:
    llm = chat(max_tokens=40)
    whole = llm.invoke(QUESTION).text
    stop = next(
        text
        for place in range(3, len(whole) - 6)
        if "\ufffd" not in (text := whole[place : place + 6])
        and len(llm.get_token_ids(text)) > 2
        and whole.index(text) == place
    )
    assert ask(llm, QUESTION, stop=[stop]).text == whole[: whole.index(stop)]
    tools = ask(llm.bind_tools([depth], tool_choice="none"), QUESTION)
    assert (
        stop
        not in ask(
            llm.bind_tools([depth], tool_choice="none"), QUESTION, stop=[tools.text[4:9]]
        ).text
    )


async def test_each_request_has_a_seed_of_its_own(chat: Make) -> None:
    llm = chat(temperature=1.5, max_tokens=12)
    alone = [llm.invoke(QUESTION, seed=seed).text for seed in (1, 2, 3)]
    together = await asyncio.gather(*(llm.ainvoke(QUESTION, seed=seed) for seed in (1, 2, 3)))
    assert [answer.text for answer in together] == alone
    assert len(set(alone)) == 3


async def test_a_batch_is_decoded_in_steps_that_its_inputs_share() -> None:
    slow = SteppedEngine(rows=64)
    with slow.engine:
        llm = ChatAmulet(engine=slow.engine, max_tokens=16, min_new_tokens=16)
        slow.pause = 0.003
        llm.batch([QUESTION] * 8)
        sync, slow.passes = slow.passes, 0
        await llm.abatch([QUESTION] * 8)
        # One by one, they would take 8 times 16.
        assert max(sync, slow.passes) < 3 * 16


class Polite(ChatAmulet):
    """Changes what reaches the model, as subclasses of chat models do."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate([*messages, HumanMessage("Please.")], *args, **kwargs)


def test_a_subclass_may_change_the_messages() -> None:
    engine = ScriptedEngine()
    Polite(engine=engine).invoke(QUESTION)
    assert "Please." in engine.tokenizer.decode(engine.requests[0].contexts[0])
