"""`ChatAmulet` on the embedded model: real answers, and an event loop that is never blocked."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SamplingParams,
)
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.prompting import ChatMessage, PromptBuilder

pytestmark = pytest.mark.model

QUESTION = "What is a black hole?"
TASTES = {"ann": "Answer like a pirate.", "bob": "Answer in one short sentence."}
PARAMS = AmuletParams(iterations=2)


@pytest.fixture(scope="module")
def llm(embedded_engine: LocalEngine) -> ChatAmulet:
    store = InMemoryProfileStore()
    for user_id, text in TASTES.items():
        store.save(PreferenceProfile(user_id=user_id, preferences=[Preference(text=text)]))
    return ChatAmulet(engine=embedded_engine, profiles=store, params=PARAMS, max_tokens=16)


def test_a_fact_comes_out_right(llm: ChatAmulet) -> None:
    answer = llm.invoke("What is the capital of France?")
    assert "Paris" in answer.text


def test_two_users_of_one_chain_get_what_the_engine_writes_for_each(
    llm: ChatAmulet, embedded_engine: LocalEngine
) -> None:
    prompts = PromptBuilder(embedded_engine.tokenizer)
    conversation = [ChatMessage(role="user", content=QUESTION)]
    requests = [
        GenerationRequest(
            contexts=prompts.contexts(conversation, [None, text]),
            weights=amulet_weights(PARAMS),
            max_kl=PRESETS["default"].max_kl,
            sampling=SamplingParams(max_new_tokens=16),
        )
        for text in TASTES.values()
    ]
    expected = [result.text for result in embedded_engine.generate(requests)]
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | llm | StrOutputParser()
    configs = [{"configurable": {"user_id": user_id}} for user_id in TASTES]
    assert chain.batch([{"q": QUESTION}] * 2, configs) == expected
    assert len(set(expected)) == 2


async def test_the_event_loop_beats_on_while_answers_are_written(llm: ChatAmulet) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.001)
            beats += 1

    heart = asyncio.create_task(beat())
    answer = await llm.ainvoke(QUESTION, user_id="ann")
    assert beats > 16  # a loop that is held beats once or twice, however slow the machine is
    beats = 0
    chunks = [chunk.text async for chunk in llm.astream(QUESTION, user_id="ann")]
    assert beats > 2 * len(chunks)
    heart.cancel()
    assert answer.text == "".join(chunks)
