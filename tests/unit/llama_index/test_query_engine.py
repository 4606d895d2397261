"""LlamaIndex's own machinery, which passes no keyword arguments on, under `preference_scope`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import BaseModel, Field

from amulet_integrations import preference_scope
from amulet_integrations.errors import AmuletError
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.unit.llama_index.support import ANN, BOB, engine_result, small_llm, store_of_two

QUESTION = "What is the sea?"
BLUE, SALT = "The sea is blue.", "The sea is salt."
NODES = [NodeWithScore(node=TextNode(text=BLUE), score=1.0)]
TWO = [*NODES, NodeWithScore(node=TextNode(text=SALT), score=0.5)]
TEMPLATE = PromptTemplate("{context_str}\n{query_str}")
REFINE = PromptTemplate("So far: {existing_answer}\n{context_msg}\n{query_str}")


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    # LlamaIndex counts with a tokenizer that it would download.
    monkeypatch.setattr("llama_index.core.global_tokenizer", str.split)


@pytest.fixture
def llm(tiny_engine, monkeypatch):
    llm = small_llm(tiny_engine, profiles=store_of_two())
    monkeypatch.setattr(Settings, "_llm", llm)
    return llm


def synthesizer(response_mode="compact", **options):
    return get_response_synthesizer(
        text_qa_template=TEMPLATE,
        summary_template=TEMPLATE,
        refine_template=REFINE,
        simple_template=PromptTemplate("{query_str}"),
        response_mode=response_mode,
        **options,
    )


def written(engine, preference, prompt=f"{BLUE}\n{QUESTION}"):
    return engine_result(engine, preference, turns=[("user", prompt)]).text


def refined(engine, preference):
    """The answer of two chunks, the second of which refines that of the first."""
    first = written(engine, preference)
    return written(engine, preference, f"So far: {first}\n{SALT}\n{QUESTION}")


# Each mode with its nodes and the last prompt that it makes of them.
MODES = {
    "compact": (NODES, written),
    "refine": (NODES, written),
    "refine of two chunks": (TWO, refined),
    "compact of two nodes": (TWO, lambda *of: written(*of, f"{BLUE}\n\n{SALT}\n{QUESTION}")),
    "tree_summarize": (NODES, written),
    # LlamaIndex writes the list of chunks as Python does.
    "simple_summarize": (NODES, lambda *of: written(*of, f"['{BLUE}']\n{QUESTION}")),
    "generation": (NODES, lambda *of: written(*of, QUESTION)),
}
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_a_synthesizer_answers_the_user_of_the_scope(tiny_engine, llm, mode):
    nodes, expected = MODES[mode]
    answers = set()
    for user_id, preference in (("ann", ANN), (None, None), ("bob", BOB)):
        make = synthesizer(mode.split()[0])
        if user_id is None:
            answer = make.synthesize(QUESTION, nodes)
        else:
            with preference_scope(user_id=user_id):
                answer = make.synthesize(QUESTION, nodes)
        assert str(answer) == expected(tiny_engine, preference)
        answers.add(str(answer))
    assert len(answers) == 3  # else nothing here could fail


def read_after(read):
    return read()


def read_inside_anothers(read):
    with preference_scope(user_id="bob"):
        return read()


def read_in_a_thread(read):
    found = []
    thread = threading.Thread(target=lambda: found.append(read_inside_anothers(read)))
    thread.start()
    thread.join(30)
    return found[0]


READERS = [read_after, read_inside_anothers, read_in_a_thread]


@every_mode
@pytest.mark.parametrize("read", READERS)
def test_a_stream_is_written_for_who_asked_wherever_it_is_read(tiny_engine, llm, mode, read):
    nodes, expected = MODES[mode]
    with preference_scope(user_id="ann"):
        answer = synthesizer(mode.split()[0], streaming=True).synthesize(QUESTION, nodes)
    assert read(lambda: "".join(answer.response_gen)) == expected(tiny_engine, ANN)


@every_mode
async def test_an_async_stream_is_written_for_who_asked_wherever_it_is_read(tiny_engine, llm, mode):
    nodes, expected = MODES[mode]

    async def ask():
        with preference_scope(user_id="ann"):
            make = synthesizer(mode.split()[0], streaming=True)
            return await make.asynthesize(QUESTION, nodes)

    async def read(answer):
        return "".join([part async for part in answer.async_response_gen()])

    after, inside = await ask(), await ask()
    answer = expected(tiny_engine, ANN)
    assert await read(after) == answer
    with preference_scope(user_id="bob"):
        assert await read(inside) == answer
        assert await asyncio.create_task(read(await ask())) == answer


@every_mode
@pytest.mark.parametrize("read", READERS[1:])
def test_what_nobody_in_particular_asked_is_for_nobody(tiny_engine, llm, mode, read):
    nodes, expected = MODES[mode]
    answer = synthesizer(mode.split()[0], streaming=True).synthesize(QUESTION, nodes)
    assert read(lambda: "".join(answer.response_gen)) == expected(tiny_engine, None)


@pytest.mark.parametrize("mode", ["compact", "refine"])
def test_a_model_of_one_user_streams_for_that_user(tiny_engine, llm, mode):
    ann = synthesizer(mode, streaming=True, llm=llm.for_user("ann"))
    answer = ann.synthesize(QUESTION, NODES)
    assert read_inside_anothers(lambda: "".join(answer.response_gen)) == written(tiny_engine, ANN)


@every_mode
def test_streams_of_two_users_do_not_mix(tiny_engine, llm, mode):
    nodes, expected = MODES[mode]
    answers = []
    for user_id in ("ann", "bob"):
        with preference_scope(user_id=user_id):
            make = synthesizer(mode.split()[0], streaming=True)
            answers.append(make.synthesize(QUESTION, nodes).response_gen)
    texts = ["", ""]
    for parts in zip(*answers, strict=False):
        texts = [text + part for text, part in zip(texts, parts, strict=True)]
    rest = ["".join(answer) for answer in answers]
    whole = [expected(tiny_engine, preference) for preference in (ANN, BOB)]
    for text, more, full in zip(texts, rest, whole, strict=True):
        assert full.startswith(text)
        assert full.endswith(more)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
async def test_a_stream_that_is_left_ends_the_decoding(mode):
    engine = ScriptedEngine(None)
    make = synthesizer(mode, streaming=True, llm=AmuletLLM(engine=engine, max_tokens=9))
    stream = make.synthesize(QUESTION, NODES).response_gen
    assert [next(stream), next(stream)] == ["a", "a"]
    assert engine.running == 1
    stream.close()
    assert engine.running == 0
    astream = (await make.asynthesize(QUESTION, NODES)).async_response_gen()
    assert [await anext(astream), await anext(astream)] == ["a", "a"]
    assert engine.running == 1
    await astream.aclose()
    del astream
    await no_longer_running(engine)


async def no_longer_running(engine):
    """Waits a while; generators inside LlamaIndex's are closed by the event loop."""
    for _ in range(500):
        if not engine.running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it still runs")


def noting(make):
    """The streams that a synthesizer makes, from now on."""
    made, get, aget = [], make.get_response, make.aget_response

    def noted(*args, **kwargs):
        made.append(get(*args, **kwargs))
        return made[-1]

    async def anoted(*args, **kwargs):
        made.append(await aget(*args, **kwargs))
        return made[-1]

    make.get_response, make.aget_response = noted, anoted
    return made


@pytest.mark.parametrize("mode", ["compact", "tree_summarize"])
async def test_streams_of_other_models_are_left_alone(llm, mode):
    for other, left_alone in ((MockLLM(max_tokens=3), True), (llm, False)):
        make = synthesizer(mode, streaming=True, llm=other)
        made = noting(make)
        answers = [make.synthesize(QUESTION, NODES), await make.asynthesize(QUESTION, NODES)]
        kept = [it.response_gen is own for it, own in zip(answers, made, strict=True)]
        assert kept == [left_alone] * 2
        assert "".join(answers[0].response_gen)


def test_an_empty_retrieval_streams_its_text(llm):
    with preference_scope(user_id="ann"):
        answer = synthesizer(streaming=True).synthesize(QUESTION, [])
    assert "".join(answer.response_gen) == "Empty Response"


def test_a_failing_stream_fails_where_it_is_read(llm):
    hasty = llm.model_copy(update={"timeout": 1e-6})
    answer = synthesizer(streaming=True, llm=hasty).synthesize(QUESTION, NODES)
    with pytest.raises(TimeoutError):
        list(answer.response_gen)


class Beyond(BaseModel):
    answer: Any = Field(json_schema_extra={"disallow": "string"})


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_cannot_be_asked_for_is_no_empty_response(llm, streaming):
    make = synthesizer(output_cls=Beyond, streaming=streaming)
    with pytest.raises(AmuletError, match="'disallow'"):
        make.synthesize(QUESTION, NODES)
    with pytest.raises(AmuletError, match="'disallow'"):
        await make.asynthesize(QUESTION, NODES)


async def test_two_users_ask_at_once(tiny_engine, llm):
    async def ask(user_id):
        with preference_scope(user_id=user_id):
            return str(await synthesizer().asynthesize(QUESTION, NODES))

    answers = await asyncio.gather(ask("ann"), ask("bob"))
    assert answers == [written(tiny_engine, ANN), written(tiny_engine, BOB)]


@pytest.mark.parametrize("mode", ["accumulate", "compact_accumulate"])
@pytest.mark.parametrize("use_async", [True, False])
async def test_what_is_accumulated_is_for_who_asked(tiny_engine, llm, mode, use_async):
    prompts = [f"{BLUE}\n{QUESTION}", f"{SALT}\n{QUESTION}"]
    if mode == "compact_accumulate":
        prompts = [f"{BLUE}\n\n{SALT}\n{QUESTION}"]

    def ask():
        with preference_scope(user_id="ann"):
            return str(synthesizer(mode, use_async=use_async).synthesize(QUESTION, TWO))

    with preference_scope(user_id="ann"):
        later = str(await synthesizer(mode, use_async=use_async).asynthesize(QUESTION, TWO))
    for text in (await asyncio.to_thread(ask), later):
        found = [part.split(": ", 1)[1] for part in text.split("\n---------------------\n")]
        assert found == [written(tiny_engine, ANN, prompt) for prompt in prompts]


class Retriever(BaseRetriever):
    """Finds the same node for every question."""

    def _retrieve(self, query_bundle):
        return NODES


def test_a_query_engine_streams_for_who_asked(tiny_engine, llm):
    engine = RetrieverQueryEngine.from_args(
        Retriever(), llm=llm, streaming=True, text_qa_template=TEMPLATE
    )
    with preference_scope(user_id="ann"):
        answer = engine.query(QUESTION)
    assert read_inside_anothers(lambda: "".join(answer.response_gen)) == written(tiny_engine, ANN)


def test_a_chat_engine_streams_for_who_asked(tiny_engine, llm):
    with preference_scope(user_id="ann"):
        answer = SimpleChatEngine.from_defaults().stream_chat(QUESTION)
    text = "".join(answer.response_gen)
    assert text == engine_result(tiny_engine, ANN).text


CHAT_ENGINES = {
    "simple": lambda llm: SimpleChatEngine.from_defaults(llm=llm),
    "context": lambda llm: ContextChatEngine.from_defaults(Retriever(), llm=llm),
    "condense and context": lambda llm: CondensePlusContextChatEngine.from_defaults(
        Retriever(), llm=llm
    ),
}


@pytest.fixture(params=CHAT_ENGINES)
def chatting(request):
    """A chat engine, and what its requests show of preferences."""
    engine = ScriptedEngine()
    engine.context_window = 100_000
    chat = CHAT_ENGINES[request.param](AmuletLLM(engine=engine, profiles=store_of_two()))

    def contexts():
        return [engine.tokenizer.decode(request.contexts[-1]) for request in engine.requests]

    return chat, contexts


def test_every_request_of_a_chat_engine_is_for_who_asked(chatting):
    chat, contexts = chatting
    with preference_scope(user_id="ann"):
        chat.chat(QUESTION)
        stream = chat.stream_chat(QUESTION)
    with preference_scope(user_id="bob"):
        assert "".join(stream.response_gen) == "Well."
    assert len(contexts()) >= 2
    assert all(ANN in text and BOB not in text for text in contexts())


async def test_every_async_request_of_a_chat_engine_is_for_who_asked(chatting):
    chat, contexts = chatting
    with preference_scope(user_id="ann"):
        await chat.achat(QUESTION)
        stream = await chat.astream_chat(QUESTION)
    with preference_scope(user_id="bob"):
        parts = [part async for part in stream.async_response_gen()]
    assert "".join(parts) == "Well."
    assert len(contexts()) >= 2
    assert all(ANN in text and BOB not in text for text in contexts())
