"""`AmuletLLM` on the embedded model."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from amulet_integrations import AmuletParams, preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from tests.support.library import (
    MILD,
    QUESTION,
    SHORT,
    TASTES,
    Overheard,
    library,
    settings_of,
    store_of,
)

pytestmark = pytest.mark.model

SOURCE = "Ada Lovelace died at the age of 36."
PROMPT = PromptTemplate("{source}")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


ADA = Person(name="Ada Lovelace", age=36)


def test_an_instruct_model_answers(embedded_engine):
    llm = AmuletLLM(max_tokens=16)
    response = llm.complete("What is the capital of France?")
    assert "Paris" in response.text
    assert response.raw["finish_reason"] == "stop"
    assert json.loads(json.dumps(response.raw))["model"] == "embedded"
    assert llm.load_engine() is embedded_engine


async def test_a_preference_changes_the_answer(embedded_engine):
    llm = AmuletLLM(engine=embedded_engine, max_tokens=16, params=AmuletParams(iterations=2))
    question = [ChatMessage(role="user", content="What should I eat today?")]
    plain = llm.chat(question).message.content
    with preference_scope(preference="I am a vegan. Answer in one short sentence."):
        stream = await llm.astream_chat(question)
    steered = [response async for response in stream][-1]
    assert steered.message.content not in {plain, ""}
    assert steered.raw["amulet"]["guidance_scale"] == pytest.approx(2.46341, abs=1e-5)


@pytest.fixture
def heard(embedded_engine: LocalEngine) -> Overheard:
    return Overheard(embedded_engine)


@pytest.fixture
def llm(heard: Overheard) -> Iterator[AmuletLLM]:
    llm = AmuletLLM(engine=heard, profiles=store_of(TASTES), params=MILD, max_tokens=48)
    with settings_of(llm):
        yield llm


def growing(llm: AmuletLLM) -> Any:
    found = list(llm.stream_structured_predict(Person, PROMPT, source=SOURCE))
    names = [one.name for one in found if one.name]
    assert len(set(names)) > 1
    assert all("Ada Lovelace".startswith(name) for name in names)
    return found[-1]


def written(program: type[Any], **llm_kwargs: Any) -> Callable[[AmuletLLM], Any]:
    def run(llm: AmuletLLM) -> Any:
        made = program.from_defaults(output_cls=Person, prompt_template_str="{source}", llm=llm)
        return made(llm_kwargs=llm_kwargs, source=SOURCE)

    return run


WAYS: dict[str, Callable[[AmuletLLM], Any]] = {
    "structured_predict": lambda llm: llm.structured_predict(Person, PROMPT, source=SOURCE),
    "astructured_predict": lambda llm: asyncio.run(
        llm.astructured_predict(Person, PROMPT, source=SOURCE)
    ),
    "stream_structured_predict": growing,
    "as_structured_llm": lambda llm: llm.as_structured_llm(Person).complete(SOURCE).raw,
    "text program": written(
        LLMTextCompletionProgram,
        response_format={"type": "json_object", "schema": Person.model_json_schema()},
    ),
    "function program": written(FunctionCallingProgram),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_text_is_read_into_an_object_for_any_user(
    heard: Overheard, llm: AmuletLLM, way: str
) -> None:
    with preference_scope(user_id="ann"):
        assert WAYS[way](llm) == ADA
    assert heard.tasted(TASTES) == [["ann"]]


async def at_work(heard: Overheard) -> None:
    """Waits for the engine: between two steps it may seem to have nothing to do."""
    while not heard.has_work:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.005)


async def cancelled(engine: Any, heard: Overheard) -> None:
    task = asyncio.create_task(engine.aquery(QUESTION))
    await at_work(heard)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def adropped(engine: Any, heard: Overheard) -> None:
    response = await engine.aquery(QUESTION)
    assert await anext(response.response_gen)
    await at_work(heard)
    await response.response_gen.aclose()


async def dropped(engine: Any, heard: Overheard) -> None:
    response = await asyncio.to_thread(engine.query, QUESTION)
    assert await asyncio.to_thread(next, response.response_gen)
    await at_work(heard)
    del response
    gc.collect()


@pytest.mark.parametrize(
    ("leave", "streaming"), [(cancelled, False), (adropped, True), (dropped, True)]
)
async def test_a_query_that_nobody_waits_for_leaves_the_engine(
    heard: Overheard, llm: AmuletLLM, leave: Any, streaming: bool
) -> None:
    endless = llm.model_copy(update={"max_tokens": 2000, "min_new_tokens": 1990})
    engine = library(heard.engine).as_query_engine(
        llm=endless, streaming=streaming, similarity_top_k=1, text_qa_template=SHORT
    )
    with preference_scope(user_id="ann"):
        await leave(engine, heard)
    left = time.monotonic()
    while heard.has_work:
        assert time.monotonic() - left < 30, "the engine decodes on for nobody"
        await asyncio.sleep(0.01)
    assert (await llm.acomplete("What is the capital of France?", max_tokens=4)).text
