"""What can be done before a call: warming up, and validating it. The call itself is the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SqlProfileStore,
)
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import AmuletError, EngineClosedError, ProfileStoreError
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CONTEXT_WINDOW, tiny_engine
from tests.support.wrappers import ASK, WRAPPERS, Turn, Wrapper, each

every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)
Check = Callable[..., Any]


def by_check() -> Any:
    names, wrappers, checks = zip(*each("checks"), strict=True)
    return pytest.mark.parametrize(
        ("wrapper", "check"), list(zip(wrappers, checks, strict=True)), ids=names
    )


every_check = by_check()


def store() -> InMemoryProfileStore:
    health = Preference(text="Name no numbers.", when={"topic": "health"})
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief.", health], preset="strong")
    return InMemoryProfileStore([ann])


def ask(wrapper: Wrapper, llm: Any, turns: Any, **call: Any) -> Any:
    return next(iter(wrapper.chats.values()))(llm, turns, **call)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 9}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


SOUND: dict[str, dict[str, Any]] = {
    "nobody": {},
    "a user": {"user_id": "ann"},
    "a user without a profile": {"user_id": "zoe"},
    "a topic": {"user_id": "ann", "preference_context": {"topic": "health"}},
    "a strength": {"preference": "Be kind.", "guidance_scale": 3.0, "max_kl": None},
    "a method": {"user_id": "ann", "method": "linear_alignment"},
    "no method": {"user_id": "ann", "method": "base"},
    "a schema": {"user_id": "ann", "response_format": nested(1)},
}


@every_check
@pytest.mark.parametrize("name", SOUND)
def test_what_is_found_is_what_the_answer_says(
    wrapper: Wrapper, check: Check, name: str, tiny_engine: LocalEngine
) -> None:
    llm = wrapper.make(engine=tiny_engine, profiles=store(), max_tokens=24)
    found = check(llm, ASK, **SOUND[name])
    answer = ask(wrapper, llm, ASK, **SOUND[name])
    applied = dict(answer.applied)
    assert found.prompt_tokens == answer.prompt_tokens
    assert found.preferences == len(applied.pop("preferences"))
    for told_afterwards in ("bounded_tokens", "mean_guidance_scale"):
        applied.pop(told_afterwards, None)
    assert {field: getattr(found, field) for field in applied} == applied
    assert found.max_tokens == 24
    assert found.context_window == CONTEXT_WINDOW
    assert max(found.context_tokens) >= found.prompt_tokens


@every_check
def test_the_answer_has_what_the_window_leaves(
    wrapper: Wrapper, check: Check, tiny_engine: LocalEngine
) -> None:
    llm = wrapper.make(engine=tiny_engine, preference="Be kind.", max_tokens=CONTEXT_WINDOW)
    found = check(llm, ASK)
    assert len(found.context_tokens) == 2
    assert found.max_tokens == CONTEXT_WINDOW - max(found.context_tokens)


LONG = [Turn("user", "sea " * CONTEXT_WINDOW)]
REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "an unknown argument": (ASK, {"max_token": 3}),
    "a value out of range": (ASK, {"temperature": -1}),
    "two users": (ASK, {"user_id": "ann", "preference": "Be kind."}),
    "a user id that is none": (ASK, {"user_id": ""}),
    "too much guidance": (ASK, {"user_id": "ann", "guidance_scale": 1000.0}),
    "no conversation": ([], {}),
    "half a character": ([Turn("user", "\ud83d")], {}),
    "a result of no call": ([*ASK, Turn("tool", "Deep.")], {}),
    "a long conversation": (LONG, {}),
    "a schema that cannot be enforced": (
        ASK,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": False}}},
    ),
    "a schema without room": (ASK, {"response_format": nested(20), "max_tokens": 9}),
    "a choice among no tools": (ASK, {"tool_choice": "depth"}),
    "a variable of the template that is taken": (ASK, {"chat_template_kwargs": {"tools": []}}),
}


@every_check
@pytest.mark.parametrize("name", REFUSED)
def test_what_a_call_refuses_is_refused_before_it_with_the_same_error(
    wrapper: Wrapper, check: Check, name: str, tiny_engine: LocalEngine
) -> None:
    turns, call = REFUSED[name]
    llm = wrapper.make(engine=tiny_engine, profiles=store(), max_tokens=24)
    with pytest.raises(AmuletError) as expected:
        ask(wrapper, llm, turns, **call)
    with pytest.raises(AmuletError) as found:
        check(llm, turns, **call)
    assert type(found.value) is type(expected.value)
    assert str(found.value) == str(expected.value)


@every_wrapper
def test_validating_decodes_nothing(wrapper: Wrapper) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, preference="Be kind.")
    assert len(wrapper.checks["validate"](llm, ASK).context_tokens) == 2
    assert not engine.requests


@every_wrapper
def test_a_closed_engine_and_a_store_that_fails_are_found(wrapper: Wrapper) -> None:
    class Broken(InMemoryProfileStore):
        def get(self, user_id: str) -> PreferenceProfile | None:
            raise ProfileStoreError("the disk is gone")

    engine = tiny_engine()
    llm = wrapper.make(engine=engine, profiles=Broken())
    for first in (llm.warm_up, lambda: wrapper.checks["validate"](llm, ASK, user_id="ann")):
        with pytest.raises(ProfileStoreError, match="the disk is gone"):
            first()
    engine.close()
    llm = wrapper.make(engine=engine)
    for first in (llm.warm_up, lambda: wrapper.checks["validate"](llm, ASK)):
        with pytest.raises(EngineClosedError):
            first()


@every_wrapper
def test_warming_up_runs_the_model_once_and_changes_no_answer(wrapper: Wrapper) -> None:
    with tiny_engine() as cold, tiny_engine() as warm:
        passes = 0
        forward = warm.backend.model.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal passes
            passes += 1
            return forward(*args, **kwargs)

        warm.backend.model.forward = counted
        llm = wrapper.make(engine=warm, profiles=store(), max_tokens=12)
        llm.warm_up()
        once = passes
        assert once > 1  # a prompt, and a step of decoding
        asyncio.run(llm.awarm_up())
        wrapper.make(engine=warm).warm_up()
        assert passes == once
        answers = [
            ask(wrapper, wrapper.make(engine=engine, profiles=store(), max_tokens=12), ASK)
            for engine in (cold, warm)
        ]
        assert answers[0] == answers[1]


@every_wrapper
def test_warming_up_loads_the_model_and_opens_the_database(
    wrapper: Wrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny_engine() as engine:
        engine.backend.model.save_pretrained(tmp_path / "model")
        engine.tokenizer.save_pretrained(tmp_path / "model")
    (database := tmp_path / "profiles.db").write_text("no database")
    llm = wrapper.make(model=str(tmp_path / "model"), profiles=str(database), max_tokens=4)
    with pytest.raises(ProfileStoreError, match="open the profiles"):
        llm.warm_up()
    database.unlink()
    with SqlProfileStore(database) as profiles:
        profiles.save(PreferenceProfile(user_id="ann", preferences=["Be brief."]))
    llm.warm_up()
    monkeypatch.delattr(LocalEngine, "from_source")  # whoever loads a model now fails
    assert ask(wrapper, llm, ASK, user_id="ann").completion_tokens > 0
