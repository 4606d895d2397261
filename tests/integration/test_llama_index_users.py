"""Many users ask one index at once: in tasks, in threads and in workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from amulet_integrations import preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from tests.support.library import (
    MILD,
    QUESTION,
    SHORT,
    Overheard,
    library,
    settings_of,
    store_of,
)

pytestmark = pytest.mark.model

EIGHT = {
    "ann": "Answer like a pirate.",
    "bob": "Answer in Spanish.",
    "cid": "Answer in French.",
    "dee": "Answer in German.",
    "eve": "Answer in capital letters.",
    "fay": "Begin with a joke about cats.",
    "gus": "Write a poem about the moon.",
    "hal": "Write Python code only.",
}


@dataclass
class House:
    """What the tests of this module share."""

    heard: Overheard
    llm: AmuletLLM
    alone: dict[str, str]

    def engine(self, llm: AmuletLLM, **options: Any) -> Any:
        index = library(self.heard.engine)
        return index.as_query_engine(llm=llm, similarity_top_k=1, text_qa_template=SHORT, **options)


@pytest.fixture(scope="module")
def everybody(embedded_engine: LocalEngine) -> Iterator[House]:
    heard = Overheard(embedded_engine)
    llm = AmuletLLM(engine=heard, profiles=store_of(EIGHT), params=MILD, max_kl=None, max_tokens=8)
    with settings_of(llm):
        house = House(heard, llm, {})
        for name in EIGHT:
            house.alone[name] = str(house.engine(llm.for_user(name)).query(QUESTION))
        yield house


@pytest.fixture
def house(everybody: House) -> House:
    everybody.heard.requests.clear()
    return everybody


def test_users_alone_are_answered_in_eight_ways(house: House) -> None:
    assert len(set(house.alone.values())) == len(EIGHT)


async def test_queries_of_eight_tasks_at_once_are_answered_as_if_alone(house: House) -> None:
    engine = house.engine(house.llm)

    async def ask(user_id: str) -> str:
        with preference_scope(user_id=user_id):
            return str(await engine.aquery(QUESTION))

    answers = await asyncio.gather(*map(ask, EIGHT))
    assert dict(zip(EIGHT, answers, strict=True)) == house.alone
    assert sorted(house.heard.tasted(EIGHT)) == [[name] for name in EIGHT]


@pytest.mark.acceptance
def test_queries_of_eight_threads_at_once_are_answered_as_if_alone(house: House) -> None:
    engine = house.engine(house.llm)

    def ask(user_id: str) -> str:
        with preference_scope(user_id=user_id):
            return str(engine.query(QUESTION))

    with ThreadPoolExecutor(len(EIGHT)) as threads:
        answers = list(threads.map(ask, EIGHT))
    assert dict(zip(EIGHT, answers, strict=True)) == house.alone
    assert sorted(house.heard.tasted(EIGHT)) == [[name] for name in EIGHT]


class Said(Event):
    text: str


class Asking(Workflow):
    """Asks in a step, and says what it hears while it hears it."""

    def __init__(self, engine: Any) -> None:
        super().__init__(timeout=60)
        self._engine = engine

    @step
    async def ask(self, ctx: Context, event: StartEvent) -> StopEvent:
        if user_id := event.get("user_id"):
            with preference_scope(user_id=user_id):
                response = await self._engine.aquery(QUESTION)
        else:
            response = await self._engine.aquery(QUESTION)
        text = ""
        async for piece in response.response_gen:
            ctx.write_event_to_stream(Said(text=piece))
            text += piece
        return StopEvent(result=text)


async def test_workflows_at_once_keep_to_the_user_around_them_or_in_their_step(
    house: House,
) -> None:
    workflow = Asking(house.engine(house.llm, streaming=True))

    async def run(user_id: str, *, around: bool) -> tuple[str, str]:
        if around:
            with preference_scope(user_id=user_id):
                handler = workflow.run()
        else:
            handler = workflow.run(user_id=user_id)
        said = [event.text async for event in handler.stream_events() if isinstance(event, Said)]
        assert len(said) > 1
        return "".join(said), await handler

    with preference_scope(user_id="hal"):
        inside = [run(user_id, around=False) for user_id in ("ann", "bob")]
        runs = await asyncio.gather(*inside, *(run(name, around=True) for name in ("cid", "dee")))
    for user_id, (said, result) in zip(("ann", "bob", "cid", "dee"), runs, strict=True):
        assert said == result == house.alone[user_id]
    assert sorted(house.heard.tasted(EIGHT)) == [["ann"], ["bob"], ["cid"], ["dee"]]
