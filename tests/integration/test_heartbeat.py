"""An event loop that asks for an answer keeps its own time."""

from __future__ import annotations

import asyncio
import time

import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, Field, create_model

from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import UnsupportedGrammarError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.support.schemas import PREFERENCE, Records

pytestmark = pytest.mark.model

BEAT = 0.010
LATEST = 0.250  # two processes of tests share the machine; a held loop is late by seconds
TRIES = 4
SCHEMA = {
    "title": "Ship",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "masts": {"type": "integer", "minimum": 1, "maximum": 5},
        "crew": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
    },
    "required": ["name", "masts", "crew"],
}


async def lateness(work):
    """The most by which a beat of 10 ms was late while `work` went on, and how many there were."""
    task = asyncio.ensure_future(work)
    late, beats = 0.0, 0
    while not task.done():
        started = time.perf_counter()
        await asyncio.sleep(BEAT)
        late = max(late, time.perf_counter() - started - BEAT)
        beats += 1
    await task
    return late, beats


async def checked(make_work):
    """A busy machine may delay a beat now and then; a loop that is held is late every time."""
    tries = []
    for number in range(TRIES):
        late, beats = await lateness(make_work(number))
        assert beats > 10
        tries.append(late)
        if late <= LATEST:
            return
    raise AssertionError(f"late by {', '.join(f'{1000 * late:.0f}' for late in tries)} ms")


@pytest.fixture
def warm(embedded_engine):
    """An engine that has read its tokenizer for grammars, and one grammar."""
    Records(embedded_engine, 64).of([3])
    return embedded_engine


async def test_the_engine_blocks_no_loop(warm):
    # Always a grammar that was not read before.
    asked = [[Records(warm, 80).request(seed)] for seed in (4, 7, 11, 13)]
    await checked(lambda number: warm.agenerate(asked[number]))


async def test_the_engine_streams_without_blocking_the_loop(warm):
    asked = [Records(warm, 80).request(seed) for seed in (14, 15, 16, 17)]

    async def read(request):
        return [step async for step in warm.astream(request)]

    await checked(lambda number: read(asked[number]))


async def test_the_chat_model_blocks_no_loop(warm):
    chat = ChatAmulet(engine=warm, preference=PREFERENCE, max_tokens=48)
    await checked(lambda number: chat.ainvoke(f"Name {number + 3} ships."))
    structured = [
        chat.with_structured_output({**SCHEMA, "title": f"Ship{number}"}) for number in range(TRIES)
    ]
    await checked(lambda number: structured[number].ainvoke("Describe a ship."))


class Boat(BaseModel):
    name: str = Field(max_length=20)
    masts: int = Field(ge=1, le=5)


async def test_the_llama_index_model_blocks_no_loop(warm):
    llm = AmuletLLM(engine=warm, preference=PREFERENCE, max_tokens=32)
    await checked(lambda number: llm.acomplete(f"Name {number + 3} boats."))
    # Always a schema that was not read before.
    kinds = [create_model(f"Boat{number}", __base__=Boat) for number in range(TRIES)]
    prompt = PromptTemplate("Describe a boat.")
    await checked(lambda number: llm.astructured_predict(kinds[number], prompt))


async def test_a_grammar_without_an_end_blocks_no_loop(warm):
    asked = [
        GenerationRequest(
            contexts=[[5, 6]],
            alternatives=[OutputAlternative(grammar=f'start: "{letter}" start "-"')],
        )
        for letter in "abcd"
    ]

    async def refused(request):
        with pytest.raises(UnsupportedGrammarError, match="needs itself for ever"):
            await warm.agenerate([request])
        await asyncio.sleep(0.2)

    await checked(lambda number: refused(asked[number]))
