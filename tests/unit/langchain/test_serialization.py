"""Who the model is: environment, other models by name, serialised forms, profiles, counting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import ModelProfile
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.runnables import ConfigurableField

from amulet_integrations import AmuletParams
from amulet_integrations.errors import AmuletError, ModelNotFoundError, PromptError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_engine, tiny_model, tiny_tokenizer

QUESTION = "What is the sea?"


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second checkpoint, on disk, that answers otherwise."""
    folder = tmp_path_factory.mktemp("other")
    tiny_model(seed=7).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_the_environment_stands_in_for_what_is_not_given(
    monkeypatch: pytest.MonkeyPatch, other_model: str
) -> None:
    monkeypatch.setenv("AMULET_MODEL", other_model)
    monkeypatch.setenv("AMULET_DTYPE", "float32")
    monkeypatch.setenv("AMULET_DEVICE", " cpu ")
    monkeypatch.setenv("AMULET_PROFILES", "sqlite:///profiles.db")
    llm = ChatAmulet()
    assert (llm.model, llm.dtype, llm.device) == (other_model, "float32", "cpu")
    assert llm.profiles == "sqlite:///profiles.db"
    given = ChatAmulet(model="embedded", dtype="float16", profiles=None)
    assert (given.model, given.dtype, given.profiles) == ("embedded", "float16", None)
    monkeypatch.setenv("AMULET_MODEL", " ")
    assert ChatAmulet().model == "embedded"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AMULET_MODEL", "/nowhere/at-all"),
        ("AMULET_MODEL", "../../etc\x07/passwd; rm -rf"),
        ("AMULET_DTYPE", "int3"),
        ("AMULET_DEVICE", "toaster"),
    ],
)
def test_a_hostile_environment_is_our_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(AmuletError):
        ChatAmulet()


def test_a_store_that_the_environment_names_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMULET_PROFILES", "nonsense://ann:hunter2@host/db")
    llm = ChatAmulet(engine=ScriptedEngine())
    assert "hunter2" not in repr(llm) + json.dumps(dumpd(llm))
    with pytest.raises(AmuletError) as caught:
        llm.invoke(QUESTION, user_id="ann")
    assert "hunter2" not in str(caught.value)


async def test_a_call_may_name_another_model(
    chat: Callable[..., ChatAmulet], other_model: str
) -> None:
    llm = chat()
    with tiny_engine(seed=7) as engine:
        expected = chat(engine=engine).invoke(QUESTION, user_id="ann").text
    assert expected != llm.invoke(QUESTION, user_id="ann").text
    call: dict[str, Any] = {"user_id": "ann", "model": other_model}
    chunks = [chunk async for chunk in llm.astream(QUESTION, **call)]
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    for answer in (llm.invoke(QUESTION, **call), await llm.ainvoke(QUESTION, **call), total):
        assert answer.text == expected
        assert answer.response_metadata["model_name"] == other_model
    assert llm.bind(model=other_model).invoke(QUESTION, user_id="ann").text == expected
    assert llm.invoke(QUESTION, model="tiny").response_metadata["model_name"] == "tiny"


def test_another_model_is_loaded_once_and_trusted_no_further(other_model: str) -> None:
    llm = ChatAmulet(
        model=other_model, trust_remote_code=True, revision="main", local_files_only=True
    )
    other = llm.of_model("embedded")
    assert (other.trust_remote_code, other.revision) == (False, None)
    assert llm.of_model(other_model) is llm
    assert other.of_model(other_model).load_engine() is other.of_model(other_model).load_engine()


async def test_a_model_that_is_not_there_fails_before_anything_is_computed() -> None:
    engine = ScriptedEngine()
    llm = ChatAmulet(engine=engine)
    with pytest.raises(ModelNotFoundError):
        llm.invoke(QUESTION, model="/nowhere/at-all")
    with pytest.raises(ModelNotFoundError):
        await llm.ainvoke(QUESTION, model="/nowhere/at-all")
    with pytest.raises(ModelNotFoundError):
        list(llm.stream(QUESTION, model="/nowhere/at-all"))
    assert not engine.requests


CHANGES: list[dict[str, Any]] = [
    {"tools": [{"name": "f", "parameters": {"type": "object", "properties": {}}}]},
    {"response_format": {"type": "json_object"}},
    {"chat_template_kwargs": {"x": 1}},
    {"min_new_tokens": 2},
    {"logprobs": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_shapes_the_answer_is_part_of_the_caches_key(change: dict[str, Any]) -> None:
    engine = ScriptedEngine(["{}"])
    llm = ChatAmulet(engine=engine, cache=InMemoryCache())
    for call in ({}, change, {}, change):
        llm.invoke(QUESTION, **call)
    assert len(engine.requests) == 2


def test_another_model_has_cache_entries_of_its_own(
    chat: Callable[..., ChatAmulet], other_model: str
) -> None:
    llm = chat(cache=InMemoryCache())
    first = llm.invoke(QUESTION).text
    assert llm.invoke(QUESTION, model=other_model).text != first
    assert llm.invoke(QUESTION).text == first


def reload(llm: ChatAmulet) -> ChatAmulet:
    loaded = load(
        json.loads(json.dumps(dumpd(llm))),
        allowed_objects=[ChatAmulet],
        valid_namespaces=["amulet_integrations"],
    )
    assert isinstance(loaded, ChatAmulet)
    return loaded


def test_a_model_comes_back_from_its_serialised_form(other_model: str) -> None:
    settings: dict[str, Any] = {
        "temperature": 0.5,
        "seed": 3,
        "stop": ["x"],
        "max_tokens": 9,
        "method": "pref",
        "params": AmuletParams(alpha=1.0, iterations=3),
        "max_kl": None,
        "saved_presets": False,
        "chat_template_kwargs": {"enable_thinking": False},
        "user_id": "ann",
        "timeout": 5.0,
        "steer_strings": True,
    }
    llm = ChatAmulet(model=other_model, **settings)
    loaded = reload(llm)
    assert loaded.asdict() == llm.asdict()
    for name in settings:
        assert getattr(loaded, name) == getattr(llm, name)
    assert loaded.source == llm.source
    assert len(list(loaded.stream(QUESTION, model=other_model, preference="Be kind."))) > 1


def test_a_user_who_was_pinned_stays_pinned(other_model: str) -> None:
    llm = ChatAmulet(model=other_model, profiles="profiles.db").for_user("ann")
    assert (reload(llm).user_id, reload(llm).pinned) == ("ann", True)


def test_serialised_forms_hold_the_settings_and_nobodys_secrets(other_model: str) -> None:
    llm = ChatAmulet(
        model=other_model,
        preference="my quiet allergy",
        profiles="postgresql://ann:hunter2@db.example/profiles",
        api_key="sk-hunter2",
    )
    form = json.dumps(dumpd(llm))
    assert "not_implemented" not in form
    assert "allergy" not in form + repr(llm._get_ls_params()) + repr(llm._get_invocation_params())
    assert "hunter2" not in form


def test_fields_can_be_configured(chat: Callable[..., ChatAmulet]) -> None:
    llm = chat(max_tokens=8).configurable_fields(max_tokens=ConfigurableField(id="limit"))
    answer = llm.with_config(configurable={"limit": 2}).invoke(QUESTION)
    assert answer.usage_metadata["output_tokens"] == 2


def words(llm: Any) -> list[str]:
    return [chunk.text for chunk in llm.stream(QUESTION) if chunk.text]


async def tokens(llm: Any) -> list[str]:
    events = [event async for event in llm.astream_events(QUESTION, version="v2")]
    chunks = [it["data"]["chunk"] for it in events if it["event"] == "on_chat_model_stream"]
    return [chunk.text for chunk in chunks if chunk.text]


async def test_a_model_that_is_rebuilt_streams_as_before() -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["a"] * 16))
    heat = ConfigurableField(id="heat")
    fields = {name: getattr(llm, name) for name in ChatAmulet.model_fields}
    for made in (
        llm,
        llm.configurable_fields(temperature=heat).with_config(configurable={"heat": 0.5}),
        ChatAmulet(**fields),
        ChatAmulet(**llm.model_dump(), engine=llm.engine),
        ChatAmulet.model_validate(fields),
    ):
        assert words(made) == await tokens(made) == ["a"] * 16
        assert [words(made.bind_tools([], top_k=2))] == [["a"] * 16]
    off = ChatAmulet(engine=llm.engine, streaming=False)
    for made in (off, ChatAmulet(**off.model_dump(), engine=llm.engine)):
        assert words(made) == ["a" * 16]


def test_a_configured_model_shares_what_is_loaded(other_model: str) -> None:
    llm = ChatAmulet(model=other_model)
    made, _ = llm.configurable_fields(max_tokens=ConfigurableField(id="limit")).prepare(
        {"configurable": {"limit": 2}}
    )
    assert made.load_engine() is llm.load_engine()
    assert (llm.profile["max_output_tokens"], made.profile["max_output_tokens"]) == (512, 2)


def test_what_the_model_can_read_is_known_before_it_is_loaded(
    other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(llm: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ChatAmulet, "load_engine", load)
    for model, window in ((other_model, 640), ("embedded", 8192)):
        profile = ChatAmulet(model=model, max_tokens=100).profile
        assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (window, 100)
    llm = ChatAmulet(model=other_model)
    SummarizationMiddleware(model=llm, trigger=("fraction", 0.5))
    SummarizationMiddleware(model=llm.bind(top_k=2).with_retry(), trigger=("fraction", 0.5))


def test_agents_are_told_what_the_model_can_do(chat: Callable[..., ChatAmulet]) -> None:
    profile = chat().profile
    assert profile is not None
    assert profile["tool_calling"]
    assert profile["structured_output"]
    assert not profile["image_inputs"]
    assert profile["max_input_tokens"] == 640
    assert ChatAmulet(engine=ScriptedEngine(), profile={"max_input_tokens": 9}).profile == {
        "max_input_tokens": 9
    }


def test_the_profile_says_all_that_is_known(
    chat: Callable[..., ChatAmulet], other_model: str
) -> None:
    fields = set(get_type_hints(ModelProfile))
    unknowable = {"status", "release_date", "last_updated"}
    of_thinking = {"reasoning_effort_levels", "reasoning_effort_default"}
    assert ChatAmulet().profile.keys() == fields - unknowable - of_thinking
    assert ChatAmulet().profile["name"] == "SmolLM2-135M-Instruct"
    # Nobody has looked at the weights and the template of these two.
    for llm in (chat(), ChatAmulet(model=other_model)):
        missing = ChatAmulet().profile.keys() - llm.profile.keys()
        assert missing == {"open_weights", "reasoning_output"}
    assert ChatAmulet(model=other_model).profile["name"] == Path(other_model).name


def test_the_profile_is_true(chat: Callable[..., ChatAmulet]) -> None:
    """What it denies is refused or done otherwise; the standard suite tries what it affirms."""
    llm = chat(max_tokens=2)
    image = {"type": "image", "url": "https://a.example/cat.png"}
    with pytest.raises(AmuletError, match="image"):
        llm.invoke([("user", [image])])
    conversation = [("user", "a"), ("ai", "b"), ("user", "c")]
    late = [*conversation[:2], ("system", "Be kind."), conversation[2]]
    first = [("system", "Be kind."), *conversation]
    counts = [llm.get_num_tokens_from_messages(convert_to_messages(it)) for it in (late, first)]
    assert counts[0] == counts[1]
    likely = [
        llm.invoke(it, logprobs=True).response_metadata["logprobs"]["content"][0]["logprob"]
        for it in (late, first)
    ]
    assert likely[0] == pytest.approx(likely[1], abs=1e-4)


def test_traces_name_preferences_and_never_tell_them(chat: Callable[..., ChatAmulet]) -> None:
    from amulet_integrations import Preference, PreferenceProfile
    from tests.unit.langchain.personalization.test_privacy import Recorder

    secret = "Mention no nuts, for I am allergic."
    preferences = [Preference(text=secret, name="food")]
    profile = PreferenceProfile(user_id="zoe", preferences=preferences)
    recorder = Recorder()
    chat(profile=profile).invoke(QUESTION, {"callbacks": [recorder]})
    heard = repr(recorder.heard)
    assert "food" in heard
    assert "allergic" not in heard


def test_tokens_of_conversations_are_counted(chat: Callable[..., ChatAmulet]) -> None:
    llm = chat()
    one = llm.get_num_tokens_from_messages([HumanMessage(QUESTION)])
    used = llm.invoke(QUESTION).usage_metadata
    assert used is not None
    assert abs(used["input_tokens"] - one) < 40  # the default system message at most
    two = llm.get_num_tokens_from_messages([HumanMessage(QUESTION), AIMessage("Blue.")])
    assert two > one

    def f(x: int) -> int:
        """Does something."""
        return x

    assert llm.get_num_tokens_from_messages([HumanMessage(QUESTION)], tools=[f]) > one
    # Part of a conversation, as trimming asks for.
    assert llm.get_num_tokens_from_messages([ToolMessage("4", tool_call_id="1")]) > 0
    with pytest.raises(PromptError, match="image"):
        llm.get_num_tokens_from_messages([HumanMessage([{"type": "image", "url": "x"}])])
