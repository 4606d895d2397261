"""Many users at full strength, with LlamaIndex's own prompts, through one index at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.schema import NodeWithScore

from amulet_integrations import preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from tests.support.library import (
    QUESTION,
    SHORT,
    Overheard,
    library,
    settings_of,
    store_of,
)

pytestmark = [pytest.mark.model, pytest.mark.acceptance]

SIXTEEN = {
    f"user {number}": f"Answer in {tongue}, {manner}."
    for number, (tongue, manner) in enumerate(
        (tongue, manner)
        for tongue in ("English", "Spanish", "French", "German")
        for manner in ("like a pirate", "in one word", "in verse", "as a question")
    )
}
QUESTIONS = [QUESTION, "How strong is a preference?"]


@pytest.fixture
def heard(embedded_engine: LocalEngine) -> Overheard:
    return Overheard(embedded_engine)


@pytest.fixture
def llm(heard: Overheard) -> Iterator[AmuletLLM]:
    llm = AmuletLLM(engine=heard, profiles=store_of(SIXTEEN), preset="paper", max_tokens=24)
    with settings_of(llm):
        yield llm


@pytest.mark.parametrize(
    ("mode", "streaming"),
    [
        ("compact", True),
        ("refine", True),
        ("refine", False),
        ("tree_summarize", True),
        ("accumulate", False),
    ],
)
async def test_sixteen_users_at_once_are_answered_as_if_alone(
    heard: Overheard, llm: AmuletLLM, mode: str, streaming: bool
) -> None:
    index = library(heard.engine)

    def engine_of(model: AmuletLLM, **options: Any) -> Any:
        return index.as_query_engine(llm=model, similarity_top_k=2, response_mode=mode, **options)

    engine = engine_of(llm, streaming=streaming)

    async def ask(user_id: str, question: str) -> Any:
        with preference_scope(user_id=user_id):
            return await engine.aquery(question)

    calls = list(zip(SIXTEEN, cycle(QUESTIONS), strict=False))
    responses = await asyncio.gather(*(ask(*one) for one in calls))
    with preference_scope(user_id="user 0"):
        together = [
            "".join([piece async for piece in response.response_gen])
            if streaming
            else str(response)
            for response in responses
        ]
    assert all(len(tasted) == 1 for tasted in heard.tasted(SIXTEEN))
    alone = [str(await engine_of(llm.for_user(name)).aquery(question)) for name, question in calls]
    assert together == alone
    assert len(set(together)) > len(together) // 2


async def test_whole_pages_are_summed_up_in_contexts_that_fit(
    embedded_engine: LocalEngine,
) -> None:
    heard = Overheard(embedded_engine, context_window=1024)
    llm = AmuletLLM(engine=heard, profiles=store_of(SIXTEEN), max_tokens=32)
    nodes = list(library(embedded_engine).docstore.docs.values())
    with settings_of(llm):
        assert Settings.prompt_helper.context_window < 1024 - 128
        synthesizer = get_response_synthesizer(
            response_mode="tree_summarize", summary_template=SHORT, use_async=True
        )
        with preference_scope(user_id="user 1"):
            await synthesizer.asynthesize(
                QUESTION, [NodeWithScore(node=node, score=1.0) for node in nodes]
            )
    lengths = [len(ids) + 32 for request in heard.requests for ids in request.contexts]
    assert len(heard.requests) > 10
    assert max(lengths) <= 1024
    assert heard.tasted(SIXTEEN) == [["user 1"]] * len(heard.requests)
