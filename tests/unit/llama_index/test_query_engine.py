"""LlamaIndex's own machinery, which passes no keyword arguments on, under `preference_scope`."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from amulet_integrations import preference_scope
from tests.unit.llama_index.support import ANN, BOB, by_hand, small_llm, store_of_two

NODES = [NodeWithScore(node=TextNode(text="The sea is blue."), score=1.0)]
TEMPLATE = PromptTemplate("{context_str}\n{query_str}")
PROMPT = "The sea is blue.\nWhat is the sea?"


@pytest.fixture
def llm(tiny_engine, monkeypatch):
    llm = small_llm(tiny_engine, profiles=store_of_two())
    monkeypatch.setattr(Settings, "_llm", llm)
    # LlamaIndex counts with a tokenizer that it would download.
    monkeypatch.setattr("llama_index.core.global_tokenizer", str.split)
    return llm


def synthesizer(response_mode="compact", **options):
    return get_response_synthesizer(
        text_qa_template=TEMPLATE,
        summary_template=TEMPLATE,
        response_mode=response_mode,
        **options,
    )


def expected(engine, preference):
    return by_hand(engine, preference, turns=[("user", PROMPT)]).text


def test_a_synthesizer_answers_the_user_of_the_scope(tiny_engine, llm):
    with preference_scope(user_id="ann"):
        answer = synthesizer().synthesize("What is the sea?", NODES)
    assert str(answer) == expected(tiny_engine, ANN)
    answer = synthesizer().synthesize("What is the sea?", NODES)
    assert str(answer) == expected(tiny_engine, None)


def test_a_streaming_synthesizer_answers_who_asked(tiny_engine, llm):
    with preference_scope(user_id="ann"):
        answer = synthesizer("tree_summarize", streaming=True).synthesize("What is the sea?", NODES)
    with preference_scope(user_id="bob"):
        assert "".join(answer.response_gen) == expected(tiny_engine, ANN)


# In this mode LlamaIndex calls the model when the stream is read, and not before.
def test_a_refining_stream_answers_the_scope_that_it_is_read_in(tiny_engine, llm):
    with preference_scope(user_id="ann"):
        answer = synthesizer(streaming=True).synthesize("What is the sea?", NODES)
        assert "".join(answer.response_gen) == expected(tiny_engine, ANN)
    ann = synthesizer(streaming=True, llm=llm.for_user("ann"))
    answer = ann.synthesize("What is the sea?", NODES)
    assert "".join(answer.response_gen) == expected(tiny_engine, ANN)


async def test_two_users_ask_at_once(tiny_engine, llm):
    async def ask(user_id):
        with preference_scope(user_id=user_id):
            return str(await synthesizer().asynthesize("What is the sea?", NODES))

    answers = await asyncio.gather(ask("ann"), ask("bob"))
    assert answers == [expected(tiny_engine, ANN), expected(tiny_engine, BOB)]


def test_a_chat_engine_streams_for_who_asked(tiny_engine, llm):
    with preference_scope(user_id="ann"):
        answer = SimpleChatEngine.from_defaults().stream_chat("What is the sea?")
    said = "".join(answer.response_gen)
    assert said == by_hand(tiny_engine, ANN).text
