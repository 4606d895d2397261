"""Whose preferences an answer follows, by every way in and at every level."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda

from amulet_integrations import PreferenceProfile, preference_scope
from amulet_integrations.errors import InvalidProfileError, PreferenceSelectionError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine

Make = Callable[..., ChatAmulet]

QUESTION = "What is the sea?"
MESSAGES = [HumanMessage(QUESTION)]
PROMPT = ChatPromptValue(messages=MESSAGES)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def applied(message: BaseMessage) -> tuple[str | None, str | None]:
    """Whose preferences an answer says it followed, and which level named the user."""
    told = message.response_metadata["amulet"]
    return told["user_id"], told["source"]


def config_for(user_id: str) -> RunnableConfig:
    return {"configurable": {"user_id": user_id}}


# Every way in. The lazy ones come in two steps: asking, which calls the method, and reading the
# answer. Between the two a scope may end.


def _last(chunks: Any) -> BaseMessage:
    return list(chunks)[-1]


def _last_answer(numbered: Any) -> BaseMessage:
    return list(numbered)[-1][1]


LAZY: dict[str, Callable[..., Callable[[], BaseMessage]]] = {
    "stream": lambda llm, **k: partial(_last, llm.stream(QUESTION, **k)),
    "stream_events v3": lambda llm, **k: partial(
        attrgetter("output"), llm.stream_events(QUESTION, version="v3", **k)
    ),
    "batch_as_completed": lambda llm, **k: partial(
        _last_answer, llm.batch_as_completed([QUESTION, QUESTION], **k)
    ),
}


async def _alast(items: Any) -> Any:
    return [item async for item in items][-1]


async def _output(coroutine: Any) -> BaseMessage:
    return await (await coroutine).output


async def _first_generation(coroutine: Any) -> BaseMessage:
    return (await coroutine).generations[0][0].message


async def _first(coroutine: Any) -> BaseMessage:
    return (await coroutine)[0]


async def _end_of_events(events: Any) -> BaseMessage:
    return (await _alast(events))["data"]["output"]


async def _second(items: Any) -> BaseMessage:
    return (await _alast(items))[1]


async def _final_output(log: Any) -> BaseMessage:
    return (await _alast(log)).state["final_output"]


ALAZY: dict[str, Callable[..., Any]] = {
    "ainvoke": lambda llm, **k: llm.ainvoke(QUESTION, **k),
    "astream": lambda llm, **k: _alast(llm.astream(QUESTION, **k)),
    "agenerate": lambda llm, **k: _first_generation(llm.agenerate([MESSAGES], **k)),
    "agenerate_prompt": lambda llm, **k: _first_generation(llm.agenerate_prompt([PROMPT], **k)),
    "abatch": lambda llm, **k: _first(llm.abatch([QUESTION, QUESTION], **k)),
    "abatch_as_completed": lambda llm, **k: _second(
        llm.abatch_as_completed([QUESTION, QUESTION], **k)
    ),
    "astream_events v3": lambda llm, **k: _output(llm.astream_events(QUESTION, version="v3", **k)),
    "astream_events v2": lambda llm, **k: _end_of_events(
        llm.astream_events(QUESTION, version="v2", include_types=["chat_model"], **k)
    ),
    "astream_log": lambda llm, **k: _final_output(llm.astream_log(QUESTION, diff=False, **k)),
}

EAGER: dict[str, Callable[..., BaseMessage]] = {
    "invoke": lambda llm, **k: llm.invoke(QUESTION, **k),
    "generate": lambda llm, **k: llm.generate([MESSAGES], **k).generations[0][0].message,
    "generate_prompt": lambda llm, **k: (
        llm.generate_prompt([PROMPT], **k).generations[0][0].message
    ),
    "batch": lambda llm, **k: llm.batch([QUESTION, QUESTION], **k)[1],
}


@pytest.mark.parametrize("way", EAGER)
def test_every_way_in_follows_the_scope_and_the_call(chat: Make, way: str) -> None:
    with preference_scope(user_id="ann"):
        assert applied(EAGER[way](chat())) == ("ann", "scope")
        assert applied(EAGER[way](chat(), user_id="bob")) == ("bob", "call")


@pytest.mark.parametrize("way", LAZY)
@pytest.mark.parametrize("reader", [None, "bob"])
def test_what_is_read_later_follows_the_scope_in_which_it_was_asked_for(
    chat: Make, way: str, reader: str | None
) -> None:
    with preference_scope(user_id="ann"):
        read = LAZY[way](chat())
    assert applied(_read_in(reader, read)) == ("ann", "scope")


@pytest.mark.parametrize("way", LAZY)
def test_what_was_asked_for_outside_of_scopes_is_nobodys_inside_of_one(
    chat: Make, way: str
) -> None:
    assert applied(_read_in("bob", LAZY[way](chat()))) == (None, None)


@pytest.mark.parametrize("way", LAZY)
def test_lazy_ways_in_follow_the_call(chat: Make, way: str) -> None:
    assert applied(LAZY[way](chat(), user_id="bob")()) == ("bob", "call")


def _read_in(user_id: str | None, read: Callable[[], BaseMessage]) -> BaseMessage:
    if user_id is None:
        return read()
    with preference_scope(user_id=user_id):
        return read()


@pytest.mark.parametrize("way", ALAZY)
@pytest.mark.parametrize("reader", [None, "bob"])
async def test_what_is_awaited_later_follows_the_scope_in_which_it_was_asked_for(
    chat: Make, way: str, reader: str | None
) -> None:
    with preference_scope(user_id="ann"):
        pending = ALAZY[way](chat())
    assert applied(await _await_in(reader, pending)) == ("ann", "scope")


@pytest.mark.parametrize("way", ALAZY)
async def test_what_was_asked_for_outside_is_nobodys_when_awaited_inside(
    chat: Make, way: str
) -> None:
    assert applied(await _await_in("bob", ALAZY[way](chat()))) == (None, None)


@pytest.mark.parametrize("way", ALAZY)
async def test_async_ways_in_follow_the_call(chat: Make, way: str) -> None:
    assert applied(await ALAZY[way](chat(), user_id="bob")) == ("bob", "call")


async def _await_in(user_id: str | None, pending: Any) -> BaseMessage:
    if user_id is None:
        return await pending
    with preference_scope(user_id=user_id):
        return await pending


def test_each_level_goes_before_the_next(chat: Make) -> None:
    llm = chat(preference="Be brief.")
    assert applied(llm.invoke(QUESTION)) == (None, "constructor")
    with preference_scope(user_id="ann"):
        assert applied(llm.invoke(QUESTION)) == ("ann", "scope")
        assert applied(llm.invoke(QUESTION, config_for("bob"))) == ("bob", "config")
        assert applied(llm.invoke(QUESTION, config_for("bob"), user_id="ann")) == ("ann", "call")


@pytest.mark.parametrize(
    "named",
    [{"user_id": "ann"}, {"preference": "x"}, {"profile": PreferenceProfile(user_id="zoe")}],
    ids=str,
)
def test_every_kind_of_name_wins_at_the_call(chat: Make, named: dict[str, Any]) -> None:
    assert applied(chat(user_id="bob").invoke(QUESTION, **named))[1] == "call"


@pytest.mark.parametrize("way", [*EAGER, "stream", "stream_events v3"])
def test_two_names_at_the_call_are_refused_at_once(chat: Make, way: str) -> None:
    ask = {**EAGER, **LAZY}[way]
    with pytest.raises(PreferenceSelectionError, match="preference and user_id"):
        ask(chat(), preference="x", user_id="ann")


def test_two_names_in_the_constructor_are_refused(chat: Make) -> None:
    with pytest.raises(PreferenceSelectionError, match="preference and user_id"):
        chat(preference="x", user_id="ann")


def test_a_misnamed_call_fails_before_anything_is_awaited(chat: Make) -> None:
    for method in (chat().ainvoke, chat().astream):
        with pytest.raises(PreferenceSelectionError):
            method(QUESTION, preference="x", user_id="ann")


def test_a_user_without_a_store_is_refused_and_told_why(chat: Make) -> None:
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        chat(profiles=None).invoke(QUESTION, user_id="ann")


def test_a_config_user_without_a_store_is_nobody_in_particular(chat: Make) -> None:
    answer = chat(profiles=None).invoke(QUESTION, config_for("ann"))
    assert answer.response_metadata["amulet"]["method"] == "base"


def test_a_config_user_that_is_no_string_is_refused(chat: Make) -> None:
    with pytest.raises(InvalidProfileError, match="user_id"):
        chat().invoke(QUESTION, {"configurable": {"user_id": 5}})


def _chain(llm: ChatAmulet) -> Any:
    return ChatPromptTemplate.from_messages([("human", "{question}")]) | llm


def test_a_chain_hands_the_configs_user_on(chat: Make) -> None:
    chain = _chain(chat()) | RunnableLambda(applied)
    assert chain.invoke({"question": "x"}, config_for("ann")) == ("ann", "config")


async def test_an_async_chain_hands_the_configs_user_on(chat: Make) -> None:
    chain = _chain(chat()) | RunnableLambda(applied)
    assert await chain.ainvoke({"question": "x"}, config_for("ann")) == ("ann", "config")


def test_a_chain_answers_each_user_in_the_users_own_way(chat: Make) -> None:
    chain = _chain(chat()) | StrOutputParser()
    answers = {
        user_id: chain.invoke({"question": QUESTION}, config_for(user_id))
        for user_id in ("ann", "bob", "nobody")
    }
    assert answers["ann"] == chat().invoke(QUESTION, user_id="ann").text
    assert len(set(answers.values())) == 3


def test_a_streaming_chain_hands_the_configs_user_on(chat: Make) -> None:
    chunks = list(_chain(chat()).stream({"question": "x"}, config_for("bob")))
    assert applied(chunks[-1]) == ("bob", "config")


async def test_a_node_that_calls_the_model_without_config_has_the_one_around_it(
    chat: Make,
) -> None:
    async def node(question: str) -> tuple[Any, ...]:
        generated = await chat().agenerate([[HumanMessage(question)]])
        chunks = [chunk async for chunk in chat().astream(question)]
        return (
            applied(await chat().ainvoke(question)),
            applied(generated.generations[0][0].message),
            applied(chunks[-1]),
        )

    found = await RunnableLambda(node).ainvoke("x", config_for("ann"))
    assert found == (("ann", "config"),) * 3


def test_a_batch_has_a_user_for_each_input(chat: Make) -> None:
    configs = [config_for("ann"), config_for("bob"), {}]
    answers = chat().batch([QUESTION] * 3, configs)
    assert [applied(answer) for answer in answers] == [
        ("ann", "config"),
        ("bob", "config"),
        (None, None),
    ]
    alone = [chat().invoke(QUESTION, config).text for config in configs]
    assert [answer.text for answer in answers] == alone


async def test_an_async_batch_has_a_user_for_each_input(chat: Make) -> None:
    answers = await chat().abatch([QUESTION] * 2, [config_for("ann"), config_for("bob")])
    assert [applied(answer)[0] for answer in answers] == ["ann", "bob"]


def test_for_user_names_a_user_and_leaves_the_original_alone(chat: Make) -> None:
    llm = chat(preference="Be brief.")
    assert applied(llm.for_user("ann").invoke(QUESTION)) == ("ann", "call")
    assert applied(llm.invoke(QUESTION)) == (None, "constructor")
    assert llm.for_user("ann").engine is llm.engine


def test_for_user_holds_against_scope_and_config_but_not_against_the_call(chat: Make) -> None:
    llm = chat().for_user("ann")
    with preference_scope(user_id="bob"):
        assert applied(llm.invoke(QUESTION)) == ("ann", "call")
        assert applied(llm.invoke(QUESTION, config_for("bob"))) == ("ann", "call")
        assert applied(llm.invoke(QUESTION, user_id="bob")) == ("bob", "call")
    assert applied(llm.for_user("bob").invoke(QUESTION)) == ("bob", "call")


def test_for_user_survives_a_model_that_langchain_rebuilds(chat: Make) -> None:
    field = ConfigurableField(id="heat")
    llm = chat().for_user("ann").configurable_fields(temperature=field)
    rebuilt = llm.with_config(configurable={"heat": 0.0})
    with preference_scope(user_id="bob"):
        assert applied(rebuilt.invoke(QUESTION)) == ("ann", "call")


def test_for_user_names_somebody_who_can_be_looked_up(chat: Make) -> None:
    for user_id in (None, "", 5):
        with pytest.raises(InvalidProfileError):
            chat().for_user(user_id)
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        chat(profiles=None).for_user("ann")


def test_a_config_user_without_a_store_is_passed_over(chat: Make) -> None:
    llm = chat(profiles=None, preference="Be brief.")
    assert applied(llm.invoke(QUESTION, config_for("ann"))) == (None, "constructor")
    with preference_scope(preference="Be kind."):
        assert applied(llm.invoke(QUESTION, config_for("ann"))) == (None, "scope")


def test_a_batch_is_decoded_all_at_once() -> None:
    engine = ScriptedEngine(["a"] * 9)
    running: list[int] = []
    steps = engine._steps
    expected = 20

    def watched(request: Any) -> Any:
        for increment in steps(request):
            running.append(engine.running)
            # A busy machine may take its time to start them all.
            deadline = time.monotonic() + 10
            while max(running) < expected and time.monotonic() < deadline:
                time.sleep(0.01)
            yield increment

    engine._steps = watched  # type: ignore[method-assign]
    ChatAmulet(engine=engine).batch([QUESTION] * 20)
    assert max(running) == 20
    running.clear()
    expected = 2
    ChatAmulet(engine=engine).batch([QUESTION] * 6, {"max_concurrency": 2})
    assert max(running) == 2


def test_for_user_survives_fallbacks_and_retries(chat: Make) -> None:
    llm = chat().for_user("ann")
    assert applied(llm.with_retry().invoke(QUESTION)) == ("ann", "call")
    fallback = FakeListChatModel(responses=["x"])
    assert applied(llm.with_fallbacks([fallback]).invoke(QUESTION)) == ("ann", "call")


def test_bound_arguments_are_arguments_of_the_call(chat: Make) -> None:
    bound = chat().bind(user_id="bob")
    assert applied(bound.invoke(QUESTION)) == ("bob", "call")
    assert applied(list(bound.stream(QUESTION))[-1]) == ("bob", "call")
    assert applied(bound.batch([QUESTION], [config_for("ann")])[0]) == ("bob", "call")


def test_the_inner_methods_find_the_user_on_their_own(chat: Make) -> None:
    with preference_scope(user_id="ann"):
        message = chat()._generate(MESSAGES).generations[0].message
        last = list(chat()._stream(MESSAGES))[-1].message
    assert applied(message) == applied(last) == ("ann", "scope")


async def test_the_inner_async_methods_find_the_user_on_their_own(chat: Make) -> None:
    with preference_scope(user_id="ann"):
        message = (await chat()._agenerate(MESSAGES)).generations[0].message
        last = (await _alast(chat()._astream(MESSAGES))).message
    assert applied(message) == applied(last) == ("ann", "scope")


def test_turning_streaming_off_keeps_the_user(chat: Make) -> None:
    with preference_scope(user_id="ann"):
        stream = chat(disable_streaming=True).stream(QUESTION)
    assert applied(_last(stream)) == ("ann", "scope")


async def test_tasks_of_two_users_do_not_mix(chat: Make) -> None:
    async def ask(user_id: str) -> BaseMessage:
        with preference_scope(user_id=user_id):
            return await chat().ainvoke(QUESTION)

    answers = await asyncio.gather(*(ask(user_id) for user_id in ["ann", "bob"] * 3))
    assert [applied(answer)[0] for answer in answers] == ["ann", "bob"] * 3


@pytest.mark.parametrize("user_id", [7, "u" * 300, "", object()])
def test_without_a_store_a_configs_user_is_somebody_elses_affair(user_id: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine())
    assert applied(llm.invoke(QUESTION, config_for(user_id))) == (None, None)


async def test_what_becomes_of_a_config_after_the_call_does_not_matter(chat: Make) -> None:
    configs = [config_for("ann")]
    asked = chat().abatch([QUESTION], configs)
    configs[0]["configurable"]["user_id"] = "bob"
    configs[0] = config_for("bob")
    assert applied((await asked)[0])[0] == "ann"
