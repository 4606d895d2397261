"""Whose preferences an answer follows; the oracle is the engine with a request written by hand."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.prompts import PromptTemplate

from amulet_integrations import AmuletParams, Preference, PreferenceProfile, preference_scope
from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import GuidanceScaleError, PreferenceSelectionError
from tests.unit.llama_index.support import (
    ANN,
    BOB,
    QUESTION,
    chat_messages,
    engine_result,
    small_llm,
    store_of_two,
)

CHAT = chat_messages(("user", QUESTION))


@pytest.fixture
def llm(tiny_engine):
    return small_llm(tiny_engine, profiles=store_of_two())


@pytest.fixture(scope="module")
def texts(tiny_engine):
    found = {name: engine_result(tiny_engine, text).text for name, text in TEXTS.items()}
    assert len(set(found.values())) == 3  # else nothing here could fail
    return found


TEXTS = {"nobody": None, "ann": ANN, "bob": BOB}


@pytest.mark.parametrize(
    "named",
    [
        {"preference": ANN},
        {"preference": Preference(text=ANN)},
        {"profile": PreferenceProfile(user_id="x", preferences=[ANN])},
        {"user_id": "ann"},
    ],
    ids=["text", "preference", "profile", "user"],
)
def test_a_call_a_scope_and_the_constructor_can_name_somebody_in_each_way(
    tiny_engine, llm, texts, named
):
    assert llm.complete(QUESTION, **named).text == texts["ann"]
    assert llm.chat(CHAT, **named).message.content == texts["ann"]
    with preference_scope(**named):
        assert llm.complete(QUESTION).text == texts["ann"]
    own = small_llm(tiny_engine, profiles=store_of_two(), **named)
    assert own.complete(QUESTION).text == texts["ann"]


def test_nobody_named_is_plain_decoding(llm, texts):
    response = llm.complete(QUESTION)
    assert response.text == texts["nobody"]
    assert response.raw["amulet"]["method"] == "base"


def test_a_user_without_preferences_is_plain_decoding(llm, texts):
    assert llm.complete(QUESTION, user_id="zoe").text == texts["nobody"]


def test_the_call_goes_before_the_scope_and_the_scope_before_the_constructor(tiny_engine, texts):
    llm = small_llm(tiny_engine, profiles=store_of_two(), preference="Say zzz all the time.")
    with preference_scope(user_id="bob"):
        assert llm.complete(QUESTION).text == texts["bob"]
        assert llm.complete(QUESTION, user_id="ann").text == texts["ann"]


def test_two_named_at_one_level_are_refused(llm):
    with pytest.raises(PreferenceSelectionError, match="preference and user_id"):
        llm.complete(QUESTION, preference=ANN, user_id="bob")
    with pytest.raises(PreferenceSelectionError):
        llm.stream_chat(CHAT, preference=ANN, profile=PreferenceProfile(user_id="x"))


def test_a_user_without_a_store_is_refused(tiny_engine):
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        small_llm(tiny_engine).complete(QUESTION, user_id="ann")


def test_params_and_method_of_a_call_go_before_the_constructors(tiny_engine, llm, texts):
    gentle = AmuletParams(iterations=1)
    strong = Preset(gentle.guidance_scale, None)
    expected = engine_result(tiny_engine, ANN, strength=strong).text
    response = llm.complete(QUESTION, user_id="ann", params=gentle, max_kl=None)
    assert response.text == expected != texts["ann"]
    assert llm.complete(QUESTION, user_id="ann", method="base").text == texts["nobody"]
    with pytest.raises(GuidanceScaleError):
        llm.complete(QUESTION, user_id="ann", params=AmuletParams(alpha=4.0, lambda_=0.5))


def test_for_user_is_a_copy_on_the_same_engine(llm, texts):
    ann = llm.for_user("ann")
    assert ann.engine is llm.engine
    assert ann.complete(QUESTION).text == texts["ann"]
    assert llm.complete(QUESTION).text == texts["nobody"]
    with preference_scope(user_id="bob"):
        assert ann.complete(QUESTION).text == texts["ann"]
        assert ann.complete(QUESTION, user_id="bob").text == texts["bob"]


async def test_a_prediction_follows_the_user_who_asked_wherever_it_is_awaited(llm, texts):
    with preference_scope(user_id="ann"):
        prediction = llm.apredict(PromptTemplate(QUESTION))
    with preference_scope(user_id="bob"):
        assert await prediction == texts["ann"]


@pytest.mark.parametrize("ask", ["stream_chat", "stream_complete"])
def test_a_stream_follows_the_user_who_asked_wherever_it_is_read(llm, texts, ask):
    argument = CHAT if ask == "stream_chat" else QUESTION
    with preference_scope(user_id="ann"):
        after, inside = getattr(llm, ask)(argument), getattr(llm, ask)(argument)
    assert _text(list(after)[-1]) == texts["ann"]
    with preference_scope(user_id="bob"):
        assert _text(list(inside)[-1]) == texts["ann"]


@pytest.mark.parametrize("ask", ["achat", "acomplete", "astream_chat", "astream_complete"])
async def test_async_answers_are_for_who_asked_wherever_they_are_awaited(llm, texts, ask):
    argument = CHAT if "chat" in ask else QUESTION
    with preference_scope(user_id="ann"):
        after, inside = getattr(llm, ask)(argument), getattr(llm, ask)(argument)
    assert await _awaited(after) == texts["ann"]
    with preference_scope(user_id="bob"):
        assert await _awaited(inside) == texts["ann"]


async def test_two_users_at_once_in_one_loop(llm, texts):
    async def ask(user_id: str) -> str:
        with preference_scope(user_id=user_id):
            await asyncio.sleep(0)
            return await llm.apredict(PromptTemplate("{question}"), question=QUESTION)

    answers = await asyncio.gather(*map(ask, ["ann", "bob"] * 4))
    assert answers == [texts["ann"], texts["bob"]] * 4


async def test_a_profile_changed_after_the_call_does_not_count(llm, texts):
    stream = await llm.astream_complete(QUESTION, user_id="ann")
    llm.profiles.delete("ann")
    assert [_text(response) async for response in stream][-1] == texts["ann"]


def _text(response):
    return response.text if hasattr(response, "text") else response.message.content


async def _awaited(coroutine):
    answer = await coroutine
    if hasattr(answer, "__aiter__"):
        return [_text(response) async for response in answer][-1]
    return _text(answer)
