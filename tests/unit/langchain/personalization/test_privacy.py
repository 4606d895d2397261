"""What callbacks, tracers and serialised forms get to see."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage

from amulet_integrations import PreferenceProfile, SqlProfileStore, preference_scope
from amulet_integrations.langchain import ChatAmulet
from tests.unit.langchain.conftest import TASTES

SECRET = "my quiet allergy"
PROFILE = PreferenceProfile(user_id="zoe", preferences=[{"text": SECRET}])
QUESTION = "What is the sea?"

Make = Callable[..., ChatAmulet]


class Recorder(BaseCallbackHandler):
    """Writes down whatever it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *args, **kwargs: self.heard.append((name, args, kwargs))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


ENTRIES: dict[str, Callable[..., Any]] = {
    "invoke": lambda llm, config, **k: llm.invoke(QUESTION, config, **k),
    "stream": lambda llm, config, **k: list(llm.stream(QUESTION, config, **k)),
    "batch": lambda llm, config, **k: llm.batch([QUESTION], config, **k),
    "generate": lambda llm, config, **k: llm.generate(
        [[HumanMessage(QUESTION)]], callbacks=config["callbacks"], **k
    ),
    "stream_events": lambda llm, config, **k: (
        llm.stream_events(QUESTION, config, version="v3", **k).output
    ),
}


async def _events(llm: ChatAmulet, config: Any, **kwargs: Any) -> Any:
    return await (await llm.astream_events(QUESTION, config, version="v3", **kwargs)).output


async def _chunks(llm: ChatAmulet, config: Any, **kwargs: Any) -> Any:
    return [chunk async for chunk in llm.astream(QUESTION, config, **kwargs)]


async def _v2_events(llm: ChatAmulet, config: Any, **kwargs: Any) -> Any:
    return [e async for e in llm.astream_events(QUESTION, config, version="v2", **kwargs)]


AENTRIES: dict[str, Callable[..., Any]] = {
    "ainvoke": lambda llm, config, **k: llm.ainvoke(QUESTION, config, **k),
    "astream": _chunks,
    "abatch": lambda llm, config, **k: llm.abatch([QUESTION], config, **k),
    "astream_events v3": _events,
    "astream_events v2": _v2_events,
}

NAMED: list[dict[str, Any]] = [{"preference": SECRET}, {"profile": PROFILE}, {"user_id": "ann"}]


def check(recorder: Recorder, answer: Any) -> None:
    heard = repr(recorder.heard) + repr(answer)
    started = next(it for it in recorder.heard if it[0] == "on_chat_model_start")
    told = started[2]["invocation_params"]["personalization"]
    assert told["method"] == "amulet"  # the recorder does hear of the preferences
    assert SECRET not in heard
    assert TASTES["ann"] not in heard
    json.dumps([started[2]["invocation_params"], started[2]["options"], started[1][0]])


@pytest.mark.parametrize("named", NAMED, ids=lambda named: next(iter(named)))
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.filterwarnings("ignore")
def test_callbacks_hear_no_preference_text(
    chat: Make, recorder: Recorder, entry: str, named: dict[str, Any]
) -> None:
    answer = ENTRIES[entry](chat(), {"callbacks": [recorder]}, **named)
    check(recorder, answer)


@pytest.mark.parametrize("named", NAMED, ids=lambda named: next(iter(named)))
@pytest.mark.parametrize("entry", AENTRIES)
@pytest.mark.filterwarnings("ignore")
async def test_async_callbacks_hear_no_preference_text(
    chat: Make, recorder: Recorder, entry: str, named: dict[str, Any]
) -> None:
    answer = await AENTRIES[entry](chat(), {"callbacks": [recorder]}, **named)
    check(recorder, answer)


def test_a_preference_of_scope_or_constructor_is_not_heard_either(
    chat: Make, recorder: Recorder
) -> None:
    config: Any = {"callbacks": [recorder]}
    answers = [chat(preference=SECRET).invoke(QUESTION, config)]
    answers.append(chat(profile=PROFILE).invoke(QUESTION, config))
    with preference_scope(preference=SECRET):
        answers.append(chat().invoke(QUESTION, config))
    check(recorder, answers)


@pytest.mark.parametrize("given", [{"preference": SECRET}, {"profile": PROFILE}])
def test_serialised_forms_hold_no_preference_text(chat: Make, given: dict[str, Any]) -> None:
    llm = chat(**given)
    for form in (repr(llm), str(llm), json.dumps(dumpd(llm)), llm.model_dump_json()):
        assert SECRET not in form
    assert SECRET not in repr(llm._get_invocation_params())


def test_serialised_forms_hold_no_database_password_and_no_key(
    tiny_engine: Any, tmp_path: Path
) -> None:
    url = "postgresql://ann:hunter2@db.example/profiles"
    llm = ChatAmulet(engine=tiny_engine, profiles=url, api_key="sk-hunter2")
    opened = ChatAmulet(engine=tiny_engine, profiles=SqlProfileStore(tmp_path / "hunter2.db"))
    for model in (llm, opened):
        for form in (repr(model), json.dumps(dumpd(model)), model.model_dump_json()):
            assert "hunter2" not in form
        assert "hunter2" not in repr(model._get_invocation_params())


def test_the_text_is_told_where_asked_for(chat: Make) -> None:
    answer = chat(include_preference_text=True).invoke(QUESTION, preference=SECRET)
    assert answer.response_metadata["amulet"]["preferences"][0]["text"] == SECRET


def test_traces_of_a_copy_show_the_copys_user(chat: Make, recorder: Recorder) -> None:
    llm = chat(user_id="bob")
    config: Any = {"callbacks": [recorder]}
    llm.invoke(QUESTION, config)
    recorder.heard.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.for_user("ann").invoke(QUESTION, config)
    assert "bob" not in repr(recorder.heard)
