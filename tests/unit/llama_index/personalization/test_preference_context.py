"""What calls are about, for preferences that have a `when`, through LlamaIndex's ways in."""

from __future__ import annotations

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.errors import InvalidProfileError
from tests.support.library import Overheard
from tests.unit.llama_index.support import (
    ANN,
    BOB,
    QUESTION,
    chat_messages,
    engine_result,
    small_llm,
)

CHAT = chat_messages(("user", QUESTION))
HEALTH, SPORT = {"topic": "health"}, {"topic": "sport"}
PROFILE = PreferenceProfile(
    user_id="ann",
    preferences=[Preference(text=ANN, when=HEALTH), Preference(text=BOB, when=SPORT)],
)


@pytest.fixture
def llm(tiny_engine):
    return small_llm(tiny_engine, profiles=InMemoryProfileStore([PROFILE]), user_id="ann")


@pytest.fixture(scope="module")
def plain(tiny_engine):
    return engine_result(tiny_engine).text


@pytest.fixture(scope="module")
def healthy(tiny_engine):
    return engine_result(tiny_engine, ANN).text


@pytest.fixture(scope="module")
def sporty(tiny_engine):
    return engine_result(tiny_engine, BOB).text


def test_calls_scopes_and_the_constructor_set_it(tiny_engine, llm, plain, healthy, sporty):
    assert len({plain, healthy, sporty}) == 3  # else nothing here could fail
    assert llm.complete(QUESTION).text == plain
    assert llm.complete(QUESTION, preference_context=HEALTH).text == healthy
    assert llm.chat(CHAT, preference_context=SPORT).message.content == sporty
    with preference_scope(preference_context=HEALTH):
        assert llm.complete(QUESTION).text == healthy
        assert llm.complete(QUESTION, preference_context=SPORT).text == sporty
    own = small_llm(tiny_engine, profiles=llm.profiles, user_id="ann", preference_context=HEALTH)
    assert own.complete(QUESTION).text == healthy
    assert own.for_user("ann").complete(QUESTION, preference_context=SPORT).text == sporty


@pytest.mark.parametrize("ask", ["stream_chat", "stream_complete"])
def test_streams_keep_the_context_of_their_call(llm, healthy, ask):
    with preference_scope(preference_context=HEALTH):
        stream = getattr(llm, ask)(CHAT if ask == "stream_chat" else QUESTION)
    with preference_scope(preference_context=SPORT):
        last = list(stream)[-1]
    assert (last.text if ask == "stream_complete" else last.message.content) == healthy


async def test_predictions_take_it_and_do_not_write_it_into_the_prompt(llm, healthy):
    template = PromptTemplate("{question}")
    kwargs = {"question": QUESTION, "preference_context": HEALTH}
    assert llm.predict(template, **kwargs) == healthy
    assert await llm.apredict(template, **kwargs) == healthy


def test_a_prompt_of_its_own_may_use_the_name(llm, tiny_engine):
    template = PromptTemplate("{preference_context}")
    expected = engine_result(tiny_engine, turns=(("user", QUESTION),)).text
    assert llm.predict(template, preference_context=QUESTION) == expected


def test_query_engines_follow_the_scope(llm, tiny_engine):
    index = SummaryIndex.from_documents(
        [Document(text="The sea is blue.")], embed_model=MockEmbedding(embed_dim=4)
    )
    engine = index.as_query_engine(llm=llm, response_mode="generation")
    with preference_scope(user_id="ann", preference_context=HEALTH):
        healthy = engine.query(QUESTION)
    with preference_scope(user_id="ann", preference_context=SPORT):
        sporty = engine.query(QUESTION)
    assert (str(healthy), str(sporty)) == (
        engine_result(tiny_engine, ANN).text,
        engine_result(tiny_engine, BOB).text,
    )


def test_serialised_forms_differ_with_the_preference_context(llm):
    def digest():
        return llm.to_dict()["speaks_for"]

    with preference_scope(preference_context=HEALTH):
        healthy = digest()
    assert healthy != digest()
    with preference_scope(preference_context=HEALTH):
        assert digest() == healthy


@pytest.mark.parametrize("wrong", ["health", {"topic": 7}])
def test_what_is_no_context_is_refused(llm, wrong):
    with pytest.raises(InvalidProfileError, match="preference_context"):
        llm.complete(QUESTION, preference_context=wrong)


class Word(BaseModel):
    word: str


@pytest.mark.parametrize("ask", ["predict", "apredict", "stream", "astream"])
async def test_structured_models_fill_in_prompts_for_the_named_user(llm, tiny_engine, ask):
    llm = small_llm(tiny_engine, profiles=llm.profiles, max_tokens=24)
    nobody = llm.as_structured_llm(Word)
    named = {"user_id": "ann", "preference_context": HEALTH}
    engine = Overheard(tiny_engine)
    llm = nobody.model_copy(update={"llm": nobody.llm.model_copy(update={"engine": engine})})
    answer = getattr(llm, ask)(PromptTemplate("{question}"), question=QUESTION, **named)
    if ask.startswith("a"):
        answer = await answer
    if ask == "astream":
        _ = [token async for token in answer]
    elif ask == "stream":
        _ = list(answer)
    (request,) = engine.requests
    texts = [tiny_engine.tokenizer.decode(context) for context in request.contexts]
    assert [ANN in text for text in texts] == [False, True]
    assert not any("preference_context" in text for text in texts)
