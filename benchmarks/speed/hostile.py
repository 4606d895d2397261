"""How long an honest user waits for the first token, alone and beside eight hostile callers."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, cycle
from typing import Any, NamedTuple

from llama_index.core.llms import ChatMessage

from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import AmuletError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from benchmarks.support.hostile_calls import HOSTILE_CALLS, HostileCall
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import USERS
from benchmarks.support.timed_answers import NO_REUSE
from benchmarks.support.timing import FULL, Effort, Figure, Figures, nearly_all

TIMEOUT = 2.0
KEPT = 40  # calls of a kind; they begin again after the last
GRACE = 0.5  # seconds after which a caller who set a timeout stops waiting for the refusal
PAUSE = 0.05  # seconds between a refusal and the next attempt
PATIENCE = 30.0  # seconds after which the honest user goes away
QUESTIONS = 20
TOKENS = 4
ALONE, BESIDE = "alone", "beside eight hostile callers"
OVER = "ms over twice the time alone"

Ask = Callable[[HostileCall, float], Awaitable[object]]
"""(call, its timeout in seconds) -> when the first token has come"""


def _first(wrapper: str) -> str:
    return f"{wrapper}, first token, ms"


def over(wrapper: str, what: str) -> str:
    """The name of the figure that is bounded.

    Args:
        wrapper: "ChatAmulet" or "AmuletLLM".
        what: "median" or "95th percentile".
    """
    return f"{wrapper}, {what}, {OVER}"


WRAPPERS = ("ChatAmulet", "AmuletLLM")
MEDIAN, NEARLY_ALL = "median", "95th percentile"
PLOTS = [
    Bars(
        f"First token {what}",
        "ms",
        {f"{wrapper}, {what}": f"{_first(wrapper)}, {what}" for wrapper in WRAPPERS},
    )
    for what in (ALONE, BESIDE)
]


class Refusals(NamedTuple):
    """How the hostile calls ended: seconds until they did, and how many outlived their timeout."""

    seconds: list[float]
    late: list[float]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Milliseconds to the first token of a user whose questions come one after the other."""
    figures: dict[str, Figure | float] = {}
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        options: dict[str, Any] = {"engine": engine, "max_tokens": TOKENS, "profiles": None}
        asks = {
            WRAPPERS[0]: _ask_langchain(ChatAmulet(**options)),
            WRAPPERS[1]: _ask_llama_index(AmuletLLM(**options)),
        }
        for wrapper, ask in asks.items():
            figures |= asyncio.run(_measure(wrapper, ask, effort))
    return figures


def _ask_langchain(llm: ChatAmulet) -> Ask:
    async def ask(call: HostileCall, seconds: float) -> object:
        stream = llm.astream(call.text, timeout=seconds, **call.arguments)
        return await anext(aiter(stream))

    return ask


def _ask_llama_index(llm: AmuletLLM) -> Ask:
    async def ask(call: HostileCall, seconds: float) -> object:
        messages = [ChatMessage(role="user", content=call.text)]
        stream = await llm.astream_chat(messages, timeout=seconds, **call.arguments)
        return await anext(aiter(stream))

    return ask


async def _measure(wrapper: str, ask: Ask, effort: Effort) -> Figures:
    questions = effort.some(range(QUESTIONS))
    await _waits(ask, questions[:2])
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    ended = Refusals([], [])
    for _ in range(effort.rounds):
        alone.append(await _waits(ask, questions))
        async with _hostile_callers(ask, ended):
            beside.append(await _waits(ask, questions))
    name = _first(wrapper)
    figures: dict[str, Figure | float] = {}
    for what, rounds in ((ALONE, alone), (BESIDE, beside)):
        figures[f"{name}, {what}"] = Figure.of(chain(*rounds))
        figures[f"{name}, {what}, {NEARLY_ALL}"] = Figure.of(map(nearly_all, rounds))
    for what, fold in ((MEDIAN, statistics.median), (NEARLY_ALL, nearly_all)):
        before, after = [fold(one) for one in alone], [fold(one) for one in beside]
        figures[f"{wrapper}, {what}, beside / alone"] = Figure.ratio(after, before)
        figures[over(wrapper, what)] = Figure.of(
            b - 2 * a for a, b in zip(before, after, strict=True)
        )
    figures[f"{wrapper}, hostile calls that were answered or refused"] = float(len(ended.seconds))
    figures[f"{wrapper}, hostile calls that outlived their timeout"] = float(len(ended.late))
    if ended.seconds:
        figures[f"{wrapper}, until a hostile call was over, s"] = Figure.of(ended.seconds)
    return figures


async def _waits(ask: Ask, questions: Sequence[int]) -> list[float]:
    """Milliseconds until each question's first token; a wait that was given up counts in full."""
    waits = []
    for number in questions:
        text, preference = USERS[number % len(USERS)]
        call = HostileCall(text, {"preference": preference})
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                await ask(call, PATIENCE)
        except (AmuletError, TimeoutError) as error:
            print(f"  The honest user was turned away: {type(error).__name__}", flush=True)
        waits.append(1000 * (time.perf_counter() - started))
    return waits


@asynccontextmanager
async def _hostile_callers(ask: Ask, ended: Refusals) -> AsyncIterator[None]:
    """Eight callers on the same event loop, each with a kind of its own, until the block ends."""
    # Made before anybody waits, since making them takes time of the event loop too.
    calls = [[kind(number) for number in range(KEPT)] for kind in HOSTILE_CALLS]
    callers = [asyncio.create_task(_call_again_and_again(ask, kind, ended)) for kind in calls]
    try:
        await asyncio.sleep(2 * PAUSE)  # until all of them are at it
        yield
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def _call_again_and_again(ask: Ask, calls: Sequence[HostileCall], ended: Refusals) -> None:
    for call in cycle(calls):
        started = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT + GRACE):
                await ask(call, TIMEOUT)
        except AmuletError:
            ended.seconds.append(time.perf_counter() - started)
        except TimeoutError:
            ended.late.append(time.perf_counter() - started)
        else:
            ended.seconds.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE)
