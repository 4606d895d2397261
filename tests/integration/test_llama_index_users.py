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
class Setup:
    """What the tests of this module share."""

    heard: Overheard
    llm: AmuletLLM
    alone: dict[str, str]

    def engine(self, llm: AmuletLLM, **options: Any) -> Any:
        index = library(self.heard.engine)
        return index.as_query_engine(llm=llm, similarity_top_k=1, text_qa_template=SHORT, **options)


@pytest.fixture(scope="module")
def everybody(embedded_engine: LocalEngine) -> Iterator[Setup]:
    heard = Overheard(embedded_engine)
    llm = AmuletLLM(engine=heard, profiles=store_of(EIGHT), params=MILD, max_kl=None, max_tokens=8)
    with settings_of(llm):
        setup = Setup(heard, llm, {})
        for name in EIGHT:
            setup.alone[name] = str(setup.engine(llm.for_user(name)).query(QUESTION))
        yield setup


@pytest.fixture
def setup(everybody: Setup) -> Setup:
    everybody.heard.requests.clear()
    return everybody


def test_users_alone_are_answered_in_eight_ways(setup: Setup) -> None:
    assert len(set(setup.alone.values())) == len(EIGHT)


async def test_queries_of_eight_tasks_at_once_are_answered_as_if_alone(setup: Setup) -> None:
    engine = setup.engine(setup.llm)

    async def ask(user_id: str) -> str:
        with preference_scope(user_id=user_id):
            return str(await engine.aquery(QUESTION))

    answers = await asyncio.gather(*map(ask, EIGHT))
    assert dict(zip(EIGHT, answers, strict=True)) == setup.alone
    assert sorted(setup.heard.tasted(EIGHT)) == [[name] for name in EIGHT]


@pytest.mark.acceptance
def test_queries_of_eight_threads_at_once_are_answered_as_if_alone(setup: Setup) -> None:
    engine = setup.engine(setup.llm)

    def ask(user_id: str) -> str:
        with preference_scope(user_id=user_id):
            return str(engine.query(QUESTION))

    with ThreadPoolExecutor(len(EIGHT)) as threads:
        answers = list(threads.map(ask, EIGHT))
    assert dict(zip(EIGHT, answers, strict=True)) == setup.alone
    assert sorted(setup.heard.tasted(EIGHT)) == [[name] for name in EIGHT]


class TextWritten(Event):
    text: str


class AskingWorkflow(Workflow):
    """Asks in a step, and writes the answer to its event stream as it comes."""

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
            ctx.write_event_to_stream(TextWritten(text=piece))
            text += piece
        return StopEvent(result=text)


async def test_workflows_at_once_keep_to_the_user_around_them_or_in_their_step(
    setup: Setup,
) -> None:
    workflow = AskingWorkflow(setup.engine(setup.llm, streaming=True))

    async def run(user_id: str, *, around: bool) -> tuple[str, str]:
        if around:
            with preference_scope(user_id=user_id):
                handler = workflow.run()
        else:
            handler = workflow.run(user_id=user_id)
        streamed = [
            event.text async for event in handler.stream_events() if isinstance(event, TextWritten)
        ]
        assert len(streamed) > 1
        return "".join(streamed), await handler

    with preference_scope(user_id="hal"):
        inside = [run(user_id, around=False) for user_id in ("ann", "bob")]
        runs = await asyncio.gather(*inside, *(run(name, around=True) for name in ("cid", "dee")))
    for user_id, (streamed, result) in zip(("ann", "bob", "cid", "dee"), runs, strict=True):
        assert streamed == result == setup.alone[user_id]
    assert sorted(setup.heard.tasted(EIGHT)) == [["ann"], ["bob"], ["cid"], ["dee"]]
