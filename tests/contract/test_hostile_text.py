"""Hostile text in every argument of both wrappers: an answer, or an error of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage, TextBlock

from amulet_integrations import InMemoryProfileStore, PreferenceProfile
from amulet_integrations.errors import (
    AmuletError,
    ModelNotFoundError,
    ProfileStoreError,
    PromptError,
)
from tests.support.hostile import ALIKE, ALL_STRINGS, ENCODABLE, MEGABYTE, UNENCODABLE
from tests.support.hostile.judge import control_ids
from tests.support.scripted import ScriptedEngine
from tests.support.wrappers import ASK, WRAPPERS, Turn, Wrapper

every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)
JOINED = {name: f"a {' b '.join(family)} z" for name, family in ENCODABLE.items()}
IMPOSSIBLE_NAMES = ("a\0b", "a\ud800b", "\ud83d\ude00", "é" * 200, "a" * 5000)
WAYS = ("validate", "avalidate")


def answered(engine: ScriptedEngine, call: Any) -> list[int] | None:
    """The control tokens of the prompts that a call makes; None where it is refused."""
    before = len(engine.requests)
    try:
        call()
    except AmuletError as error:
        str(error).encode(errors="strict")
        return None
    contexts = [ids for request in engine.requests[before:] for ids in request.contexts]
    return [token for ids in contexts for token in control_ids(engine.tokenizer, ids)]


def in_every_turn(text: str) -> list[Turn]:
    call = {"sea": text}
    return [
        Turn("system", text),
        Turn("user", text),
        Turn("assistant", text, call),
        Turn("tool", text),
        Turn("user", text),
    ]


@every_wrapper
def test_hostile_conversations_and_preferences_open_no_turn(wrapper: Wrapper) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine)

    def control(ask: Any, text: str) -> list[int] | None:
        call = lambda: ask(llm, in_every_turn(text), preference=text)  # noqa: E731
        return answered(engine, call)

    for ask in (wrapper.chats[next(iter(wrapper.chats))], list(wrapper.chats.values())[3]):
        calm = control(ask, "calm")
        assert calm
        for name, text in JOINED.items():
            # Preferences hold no control characters, and have at most 2,000 of all others.
            shown = "".join(c for c in text if c.isprintable() or c == "\n")[:1500]
            assert control(ask, shown) == calm, name


@every_wrapper
@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "</think>"])
def test_a_token_split_over_blocks_and_messages_is_none(wrapper: Wrapper, token: str) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine)

    def control(first: str, second: str) -> list[int] | None:
        if wrapper.name == "ChatAmulet":
            blocks = [{"type": "text", "text": first}, {"type": "text", "text": second}]
            call = lambda: llm.invoke([HumanMessage(blocks), HumanMessage(second)])  # noqa: E731
        else:
            blocks = [TextBlock(text=first), TextBlock(text=second)]
            talk = [
                ChatMessage(role="user", blocks=blocks),
                ChatMessage(role="user", content=second),
            ]
            call = lambda: llm.chat(talk)  # noqa: E731
        return answered(engine, call)

    calm = control("calm", "calm")
    assert calm
    for at in range(1, len(token)):
        assert control(token[:at], token[at:]) == calm


@every_wrapper
def test_hostile_arguments_are_answered_or_refused(wrapper: Wrapper) -> None:
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."])
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, profiles=InMemoryProfileStore([ann]), unknown_user="plain")
    ask = next(iter(wrapper.chats.values()))

    def schema(text: str) -> dict[str, Any]:
        about = {"title": text, "description": text, "enum": [text]}
        whole = {"title": text, "type": "object", "properties": {text: about}, "required": [text]}
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": whole}}

    def tool(text: str, name: str = "look") -> dict[str, Any]:
        parameters = {"type": "object", "properties": {text: {"type": "string", "title": text}}}
        function = {"name": name, "description": text, "parameters": parameters}
        return {"type": "function", "function": function}

    places: dict[str, Any] = {
        "user": lambda text: {"user_id": text},
        "stop": lambda text: {"stop": [text]},
        "schema": lambda text: {"response_format": schema(text)},
        "tool": lambda text: {"tools": [tool(text)]},
        "tool's name": lambda text: {"tools": [tool("calm", name=text)]},
        "template": lambda text: {"chat_template_kwargs": {"custom": text}},
        "template's name": lambda text: {"chat_template_kwargs": {text: "calm"}},
        "context": lambda text: {"preference": "Be kind.", "preference_context": {text: text}},
        "method": lambda text: {"method": text},
    }
    short = {"user", "stop", "tool's name", "context", "method"}
    for place, arguments in places.items():
        calm = answered(engine, lambda made=arguments: ask(llm, ASK, **made("calm")))
        for text in [*ALL_STRINGS[::12], *([MEGABYTE] if place in short else [])]:
            found = answered(engine, lambda made=arguments, text=text: ask(llm, ASK, **made(text)))
            assert found is None or found == calm, (place, text[:80])


@every_wrapper
@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=lambda name: ascii(name[:5]))
def test_names_that_no_file_can_have_are_refused(
    wrapper: Wrapper, name: str, tmp_path: Path
) -> None:
    ask = next(iter(wrapper.chats.values()))
    for model in (name, f"owner/{name}", f"./{name}", str(tmp_path / name)):
        with pytest.raises(ModelNotFoundError) as caught:
            wrapper.make(model=model)
        str(caught.value).encode()
    for place in (tmp_path / name, str(tmp_path / name), f"sqlite:///{tmp_path}/{name}"):
        llm = wrapper.make(engine=ScriptedEngine(), profiles=place)
        with pytest.raises(ProfileStoreError) as refused:
            ask(llm, ASK, user_id="ann")
        str(refused.value).encode()


@every_wrapper
@pytest.mark.parametrize("name", ["~nobody-of-that-name", "~nobody-of-that-name\0"], ids=ascii)
def test_home_folders_of_nobody_are_refused(
    wrapper: Wrapper, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (name, f"{name}/x"):
        with pytest.raises(ModelNotFoundError, match="nobody-of-that-name"):
            wrapper.make(model=place)
        for named in (place, Path(place)):
            llm = wrapper.make(engine=ScriptedEngine(), profiles=named)
            with pytest.raises(ProfileStoreError, match="nobody-of-that-name"):
                next(iter(wrapper.chats.values()))(llm, ASK, user_id="ann")
    assert list(tmp_path.iterdir()) == []


@every_wrapper
@pytest.mark.parametrize("text", UNENCODABLE["surrogates"], ids=ascii)
def test_what_no_tokenizer_reads_is_not_counted(wrapper: Wrapper, text: str) -> None:
    llm = wrapper.make(engine=ScriptedEngine())
    count = llm.get_num_tokens if wrapper.name == "ChatAmulet" else llm.tokenizer
    assert count("The sea.")
    with pytest.raises(PromptError, match="surrogate"):
        count(text)


@every_wrapper
def test_checks_refuse_and_answer_alike(wrapper: Wrapper) -> None:
    llm = wrapper.make(engine=ScriptedEngine())
    for text in ALL_STRINGS[::40]:
        outcomes = set()
        for way in WAYS:
            try:
                wrapper.checks[way](llm, [Turn("user", text)], stop=[text])
                outcomes.add("sound")
            except AmuletError as error:
                outcomes.add(str(error))
        assert len(outcomes) == 1


@every_wrapper
def test_a_hostile_user_reads_nobody_elses_profile(wrapper: Wrapper) -> None:
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."])
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, profiles=InMemoryProfileStore([ann]), unknown_user="plain")
    ask = next(iter(wrapper.chats.values()))
    for text in {*ALL_STRINGS[::3], *ALIKE} - {"ann"}:
        answered(engine, lambda user=text: ask(llm, ASK, user_id=user))
    assert {len(request.contexts) for request in engine.requests} == {1}
