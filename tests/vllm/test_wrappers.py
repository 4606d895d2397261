"""The wrappers on the embedded model: the published code's tokens, and `LocalEngine`'s answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from amulet_integrations import InMemoryProfileStore, PreferenceProfile
from amulet_integrations.engine import LocalEngine, VLLMEngine, run_on_worker
from amulet_integrations.errors import RequestTimeoutError
from amulet_integrations.langchain import ChatAmulet
from tests.support.golden import ALIGNED, SEQUENCES, amulet, linear_alignment, needs_golden

pytestmark = pytest.mark.model
PIRATE = "Answer like a friendly pirate."
TASTES = {"ann": PIRATE, "bob": "Answer in one short sentence."}
QUESTION = "What is the capital of France?"
TOKENS = 20


class City(BaseModel):
    """A city."""

    name: str
    country: str


def look_up(city: str) -> str:
    """Looks a city up in the atlas."""
    return city


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMEngine]:
    with VLLMEngine(
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=2048,
        max_num_seqs=40,
        max_num_batched_tokens=512,
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEngine]:
    with LocalEngine.from_pretrained(dtype="float32") as engine:
        yield engine


@pytest.fixture(scope="module")
def profiles() -> InMemoryProfileStore:
    store = InMemoryProfileStore()
    for user_id, text in TASTES.items():
        store.save(PreferenceProfile(user_id=user_id, preferences=[text]))
    return store


@needs_golden
def test_golden_sequences(engine):
    requests = [amulet(s) for s in SEQUENCES] + [linear_alignment(s) for s in ALIGNED]
    written = [result.token_ids for result in engine.generate(requests)]
    assert written[: len(SEQUENCES)] == [s["amulet"] for s in SEQUENCES]
    assert written[len(SEQUENCES) :] == [s["linear_alignment_ratio2"] for s in ALIGNED]
    assert engine.generate(requests[:1])[0].token_ids == SEQUENCES[0]["amulet"]


CONFIGS: list[Any] = [{"configurable": {"user_id": user_id}} for user_id in TASTES]


def chain_of(chat: ChatAmulet):
    return ChatPromptTemplate.from_messages([("human", "{question}")]) | chat | StrOutputParser()


def batch(chat: ChatAmulet) -> list[str]:
    return chain_of(chat).batch([{"question": QUESTION}] * 2, CONFIGS)


async def abatch(chat: ChatAmulet) -> list[str]:
    return await chain_of(chat).abatch([{"question": QUESTION}] * 2, CONFIGS)


def stream(chat: ChatAmulet) -> list[str]:
    return list(chain_of(chat).stream({"question": QUESTION}, CONFIGS[0]))


async def astream(chat: ChatAmulet) -> list[str]:
    return [part async for part in chain_of(chat).astream({"question": QUESTION}, CONFIGS[0])]


def strengths(chat: ChatAmulet) -> list[str]:
    calls: list[dict[str, Any]] = [
        {"guidance_scale": 1.0},
        {"guidance_scale": 2.5, "max_kl": None},
        {"preset": "strong"},
        {"method": "linear_alignment"},
        {"method": "base"},
    ]
    return [chat.invoke(QUESTION, user_id="ann", max_tokens=12, **call).text for call in calls]


def sampled(chat: ChatAmulet) -> str:
    return chat.invoke(QUESTION, user_id="ann", temperature=0.8, top_p=0.9, seed=5).text


def tools(chat: ChatAmulet) -> list[dict[str, Any]]:
    calling = chat.bind_tools([look_up], tool_choice="any")
    answer = calling.invoke(QUESTION, user_id="ann", max_tokens=60)
    return [{"name": call["name"], "args": call["args"]} for call in answer.tool_calls]


def structured(chat: ChatAmulet) -> City:
    return chat.with_structured_output(City).invoke("Paris", preference=PIRATE)


@pytest.mark.parametrize("ask", [batch, stream, strengths, sampled, tools, structured])
def test_chat_answers_are_those_of_the_local_engine(engine, local, profiles, ask):
    answers = [
        ask(ChatAmulet(engine=each, profiles=profiles, max_tokens=TOKENS))
        for each in (engine, local)
    ]
    assert answers[0] == answers[1]
    assert answers[0]


@pytest.mark.parametrize(("ask", "same"), [(abatch, batch), (astream, stream)])
async def test_asyncio_gives_the_same_answers(engine, profiles, ask, same):
    chat = ChatAmulet(engine=engine, profiles=profiles, max_tokens=TOKENS)
    assert "".join(await ask(chat)) == "".join(same(chat))


def test_an_answer_is_explained_as_the_local_engine_explains_it(engine, local, profiles):
    told = []
    for each in (engine, local):
        chat = ChatAmulet(engine=each, profiles=profiles, max_tokens=8, explain=True)
        told.append(chat.explanation_of(chat.invoke(QUESTION, user_id="ann")))
    ours, theirs = told
    assert ours.answer == theirs.answer
    assert len(ours.tokens) == len(theirs.tokens) == 8
    for one, other in zip(ours.tokens, theirs.tokens, strict=True):
        for name in ("base", "pref", "policy"):
            expected = getattr(other, name).logprob
            assert getattr(one, name).logprob == pytest.approx(expected, abs=1e-3)
        assert one.kl_from_pref == pytest.approx(other.kl_from_pref, abs=1e-3)


async def test_a_chain_that_is_cancelled_or_late_leaves_nothing_running(engine, profiles):
    chat = ChatAmulet(engine=engine, profiles=profiles, max_tokens=1500, min_new_tokens=1500)
    task = asyncio.create_task(chain_of(chat).abatch([{"question": QUESTION}] * 2, CONFIGS))
    while engine.stats.running < 2:  # noqa: ASYNC110 - engines know no asyncio
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RequestTimeoutError):
        await chat.ainvoke(QUESTION, timeout=0.2)
    with closing(chat.stream(QUESTION)) as parts:
        next(parts)
    run_on_worker(int)  # the step that ends it
    assert engine.stats.is_idle


def llama_chat(llm, messages) -> str:
    return llm.chat(messages, user_id="ann").message.content


def llama_stream(llm, messages) -> str:
    return "".join(part.delta for part in llm.stream_chat(messages, user_id="bob"))


async def _joined(parts) -> str:
    return "".join([part.delta async for part in await parts])


def llama_astream(llm, messages) -> str:
    return asyncio.run(_joined(llm.astream_chat(messages, user_id="ann", guidance_scale=2.0)))


def llama_structured(llm, _messages) -> City:
    from llama_index.core.prompts import PromptTemplate

    return llm.structured_predict(City, PromptTemplate("Paris"))


def llama_tools(llm, _messages) -> list[tuple[str, Any]]:
    from llama_index.core.tools import FunctionTool

    tool = FunctionTool.from_defaults(look_up)
    answer = llm.chat_with_tools([tool], QUESTION, tool_required=True, max_tokens=60)
    calls = llm.get_tool_calls_from_response(answer)
    return [(call.tool_name, call.tool_kwargs) for call in calls]


@pytest.mark.parametrize(
    "ask", [llama_chat, llama_stream, llama_astream, llama_structured, llama_tools]
)
def test_llama_index_answers_are_those_of_the_local_engine(engine, local, profiles, ask):
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.llms.types import ChatMessage

    from amulet_integrations.llama_index import AmuletLLM

    make: Callable[..., AmuletLLM] = partial(AmuletLLM, profiles=profiles, max_tokens=TOKENS)
    messages = [ChatMessage(role="user", content=QUESTION)]
    answers = [ask(make(engine=each), messages) for each in (engine, local)]
    assert answers[0] == answers[1]
    assert answers[0]
