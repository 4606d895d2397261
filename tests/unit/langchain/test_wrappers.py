"""What wraps a chat model: whatever a wrapper holds reaches the engine, whatever comes after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.prompt_values import StringPromptValue
from langchain_core.runnables import (
    ConfigurableField,
    ConfigurableFieldSingleOption,
    RunnableLambda,
    RunnablePassthrough,
)

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, preference_scope
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    PreferenceSelectionError,
    PromptError,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.langchain.wrappers import AmuletFallbacks
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model, tiny_tokenizer

QUESTION = "What is the sea?"
TASTE = {"ann": "Answer in verse.", "bob": "Numbers only."}
SCHEMA = {"title": "Words", "type": "object", "properties": {}}

Make = Callable[..., Any]


def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return sea


def height(hill: str) -> str:
    """Looks up how high a hill is."""
    return hill


def chat(**settings: Any) -> ChatAmulet:
    users = [PreferenceProfile(user_id=name, preferences=[text]) for name, text in TASTE.items()]
    store = InMemoryProfileStore(users)
    return ChatAmulet(engine=ScriptedEngine(["{", "}"]), profiles=store, **settings)


# What a model holds, and what the engine must be asked for therefore.
HOLDERS: dict[str, tuple[Make, set[str]]] = {
    "bound user": (lambda llm: llm.bind(user_id="ann"), {"ann"}),
    "bound settings": (
        lambda llm: llm.bind(stop=["Q"], temperature=0.5),
        {"stop", "temperature"},
    ),
    "bound tools": (lambda llm: llm.bind_tools([depth]), {"depth"}),
    "config": (lambda llm: llm.with_config(configurable={"user_id": "ann"}), {"ann"}),
    "pinned": (lambda llm: llm.for_user("ann"), {"ann"}),
    "configured": (
        lambda llm: llm.configurable_fields(temperature=ConfigurableField(id="heat")).with_config(
            configurable={"heat": 0.5}
        ),
        {"temperature"},
    ),
    "all of them": (
        lambda llm: (
            llm.bind(stop=["Q"])
            .with_config(configurable={"user_id": "ann"})
            .bind_tools([depth], temperature=0.5)
        ),
        {"ann", "stop", "temperature", "depth"},
    ),
}

# What is called on such a model later.
WRAPPERS: dict[str, tuple[Make, set[str]]] = {
    "nothing": (lambda llm: llm, set()),
    "bind": (lambda llm: llm.bind(top_k=3), {"top_k"}),
    "bind_tools": (lambda llm: llm.bind_tools([height]), {"height"}),
    "with_config": (lambda llm: llm.with_config(tags=["x"], configurable={"x": 1}), set()),
    "with_retry": (lambda llm: llm.with_retry(stop_after_attempt=1), set()),
    "with_fallbacks": (lambda llm: llm.with_fallbacks([chat()]), set()),
    "with_listeners": (lambda llm: llm.with_listeners(on_end=lambda run: None), set()),
    "with_types": (lambda llm: llm.with_types(input_type=str), set()),
    "configurable_fields": (
        lambda llm: llm.configurable_fields(top_p=ConfigurableField(id="mass")).with_config(
            configurable={"mass": 0.9}
        ),
        {"top_p"},
    ),
    "configurable_alternatives": (
        lambda llm: llm.configurable_alternatives(ConfigurableField(id="which"), other=chat()),
        set(),
    ),
}

# How it is asked at last.
ASKED: dict[str, Make] = {
    "invoke": lambda llm: llm.invoke(QUESTION),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke(QUESTION)),
    "stream": lambda llm: list(llm.stream(QUESTION)),
    "batch": lambda llm: llm.batch([QUESTION]),
    "structured": lambda llm: llm.with_structured_output(SCHEMA).invoke(QUESTION),
    "structured stream": lambda llm: list(llm.with_structured_output(SCHEMA).stream(QUESTION)),
    "agent": lambda llm: create_agent(llm, [height]).invoke({"messages": [("user", QUESTION)]}),
    "agent without tools": lambda llm: asyncio.run(
        create_agent(llm).ainvoke({"messages": [("user", QUESTION)]})
    ),
}


def seen_by(engine: Any) -> set[str]:
    """What the last request asked for, by its prompt and its sampling parameters."""
    request = engine.requests[-1]
    prompts = "".join(engine.tokenizer.decode(ids) for ids in request.contexts)
    sampling = request.sampling
    there = {
        "ann": TASTE["ann"] in prompts,
        "bob": TASTE["bob"] in prompts,
        "depth": "how deep a sea is" in prompts,
        "height": "how high a hill is" in prompts,
        "stop": tuple(sampling.stop) == ("Q",),
        "temperature": sampling.temperature == 0.5,
        "top_k": sampling.top_k == 3,
        "top_p": sampling.top_p == 0.9,
    }
    return {name for name, found in there.items() if found}


def check(holder: str, wrappers: list[str], asked: str) -> None:
    llm = chat()
    hold, held = HOLDERS[holder]
    model, expected = hold(llm), set(held)
    for wrap, more in map(WRAPPERS.get, wrappers):
        model, expected = wrap(model), expected | more
    ASKED[asked](model)
    if asked == "agent":
        expected.add("height")
    assert seen_by(llm.engine) == expected, (wrappers, asked)


@pytest.mark.parametrize("holder", HOLDERS)
def test_nothing_is_lost_by_a_wrapper(holder: str) -> None:
    ways = cycle(ASKED)
    for wrapper, _ in product(WRAPPERS, range(3)):
        check(holder, [wrapper], next(ways))


@pytest.mark.parametrize("holder", ["all of them", "configured"])
def test_nothing_is_lost_by_several_wrappers(holder: str) -> None:
    ways = cycle(ASKED)
    for wrappers in product(WRAPPERS, WRAPPERS):
        check(holder, list(wrappers), next(ways))
    rest = [name for name in WRAPPERS if name != "nothing"]
    check(holder, rest, "structured")
    check(holder, rest[::-1], "agent")


def test_a_fallback_answers_with_what_is_held() -> None:
    class Broken(ScriptedEngine):
        def stream(self, request: Any) -> Any:
            raise RuntimeError("broken")

    llm = chat()
    broken = llm.model_copy(update={"engine": Broken()})
    model = broken.with_fallbacks([llm]).bind(stop=["Q"]).for_user("ann").bind_tools([depth])
    model.invoke(QUESTION)
    assert seen_by(llm.engine) == {"ann", "stop", "depth"}


@pytest.mark.parametrize("form", ["tools", "structured", "alternative"])
def test_fields_stay_configurable(form: str) -> None:
    llm = chat()
    model = llm.configurable_fields(temperature=ConfigurableField(id="heat"))
    if form == "alternative":
        model = chat().configurable_alternatives(ConfigurableField(id="which"), other=model)
    made = model.with_structured_output(SCHEMA) if form == "structured" else None
    made = made or model.bind_tools([depth])
    made.invoke(QUESTION, {"configurable": {"heat": 0.5, "which": "other"}})
    assert seen_by(llm.engine) == {"temperature"} | (set() if form == "structured" else {"depth"})


METHODS: dict[str, Make] = {
    "generate": lambda llm: llm.generate([[HumanMessage(QUESTION)]]),
    "agenerate": lambda llm: asyncio.run(llm.agenerate([[HumanMessage(QUESTION)]])),
    "generate_prompt": lambda llm: llm.generate_prompt([StringPromptValue(text=QUESTION)]),
    "agenerate_prompt": lambda llm: asyncio.run(
        llm.agenerate_prompt([StringPromptValue(text=QUESTION)])
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_methods_of_models_only_find_what_is_bound(method: str, holder: str) -> None:
    llm = chat()
    hold, held = HOLDERS[holder]
    METHODS[method](hold(llm))
    assert seen_by(llm.engine) == held


def test_the_tokens_of_bound_tools_are_counted() -> None:
    llm, asked = chat(), [HumanMessage(QUESTION)]
    counted = llm.bind_tools([depth]).get_num_tokens_from_messages(asked)
    assert counted == llm.get_num_tokens_from_messages(asked, tools=[depth])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_later_user_replaces_an_earlier_one(wrapper: str) -> None:
    wrap, more = WRAPPERS[wrapper]
    for hold in (
        lambda llm: llm.bind(user_id="ann"),
        lambda llm: llm.with_config(configurable={"user_id": "ann"}),
        lambda llm: llm.for_user("ann"),
    ):
        llm = chat()
        wrap(hold(llm)).for_user("bob").invoke(QUESTION)
        assert seen_by(llm.engine) == {"bob"} | more
        with preference_scope(user_id="bob"):
            wrap(hold(llm)).plain().invoke(QUESTION)
        assert seen_by(llm.engine) == more


def test_configs_add_up_and_the_user_of_a_run_stays() -> None:
    llm = chat()
    twice = llm.with_config(configurable={"user_id": "ann"}).with_config(
        configurable={"guidance_scale": 2.0}
    )
    answer = twice.invoke(QUESTION)
    assert seen_by(llm.engine) == {"ann"}
    assert answer.response_metadata["amulet"]["guidance_scale"] == 2.0
    field = ConfigurableField(id="heat")
    for bound in (
        llm.with_config(configurable={"guidance_scale": 2.0}),
        llm.configurable_fields(temperature=field).with_config(configurable={"heat": 0.1}),
    ):
        node = RunnableLambda(bound.invoke)
        node.invoke(QUESTION, {"configurable": {"user_id": "bob"}})
        assert seen_by(llm.engine) == {"bob"}


REFUSED: dict[str, tuple[Make, type[Exception], str]] = {
    "a form beside tools": (
        lambda llm: llm.bind_tools([depth]).with_structured_output(
            SCHEMA, method="function_calling"
        ),
        PromptError,
        "given or bound",
    ),
    "two formats": (
        lambda llm: llm.bind(response_format={"type": "json_object"}).with_structured_output(
            SCHEMA
        ),
        PromptError,
        "response_format= is set",
    ),
    "a bound field": (
        lambda llm: llm.bind(temperature=0.5).configurable_fields(
            temperature=ConfigurableField(id="heat")
        ),
        InvalidParamsError,
        "temperature= is bound",
    ),
    "a bound field of another name": (
        lambda llm: llm.bind(max_new_tokens=5).configurable_fields(
            max_tokens=ConfigurableField(id="limit")
        ),
        InvalidParamsError,
        "max_tokens= is bound",
    ),
    "an argument for a configurable field": (
        lambda llm: llm.configurable_fields(temperature=ConfigurableField(id="heat")).bind(
            temperature=0.5
        ),
        InvalidParamsError,
        "temperature= is bound",
    ),
    "an argument after others": (
        lambda llm: (
            llm.configurable_fields(temperature=ConfigurableField(id="heat"))
            .bind(top_k=3)
            .bind(temperature=0.5)
        ),
        InvalidParamsError,
        "temperature= is bound",
    ),
    "an argument beside tools": (
        lambda llm: llm.configurable_fields(max_tokens=ConfigurableField(id="limit")).bind_tools(
            [depth], max_new_tokens=5
        ),
        InvalidParamsError,
        "max_tokens= is bound",
    ),
    "an argument beside a schema": (
        lambda llm: llm.configurable_fields(
            temperature=ConfigurableField(id="heat")
        ).with_structured_output(SCHEMA, temperature=0.5),
        InvalidParamsError,
        "temperature= is bound",
    ),
    "an argument around a retry": (
        lambda llm: (
            llm.configurable_fields(temperature=ConfigurableField(id="heat"))
            .with_retry()
            .bind(temperature=0.5)
        ),
        InvalidParamsError,
        "temperature= is bound",
    ),
    "a stranger's user": (
        lambda llm: llm.with_fallbacks([FakeListChatModel(responses=["x"])]).for_user("ann"),
        PreferenceSelectionError,
        "FakeListChatModel knows no users",
    ),
    "two tools of one name": (
        lambda llm: llm.bind_tools([depth]).bind_tools(
            [{"name": "depth", "description": "Another.", "parameters": {"type": "object"}}]
        ),
        PromptError,
        "have the name 'depth'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused(case: str) -> None:
    make, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        make(chat())


def test_wrappers_are_loaded_as_langchains_own() -> None:
    stranger = FakeListChatModel(responses=["x"])
    for name in WRAPPERS.keys() - {"nothing", "bind_tools", "configurable_fields"}:
        wrap, _ = WRAPPERS[name]
        assert dumpd(wrap(chat()))["id"] == dumpd(wrap(stranger))["id"], name


# How a model may be configured with a user, or with something else.
CONFIGURED: dict[str, Make] = {
    "a model": lambda llm, values: llm.with_config(configurable=values),
    "a model with arguments": lambda llm, values: (
        llm.bind(top_k=3).with_config(configurable=values).bind(top_p=0.9)
    ),
    "twice": lambda llm, values: (
        llm.with_config(configurable=values).bind_tools([depth]).with_config(tags=["x"])
    ),
    "inside": lambda llm, values: (
        llm.with_config(configurable=values)
        .configurable_fields(temperature=ConfigurableField(id="heat"))
        .with_config(tags=["x"])
    ),
    "fields": lambda llm, values: llm.configurable_fields(
        temperature=ConfigurableField(id="heat")
    ).with_config(configurable=values),
    "alternatives": lambda llm, values: llm.configurable_alternatives(
        ConfigurableField(id="which"), other=chat()
    ).with_config(configurable=values),
    "a retry": lambda llm, values: llm.with_config(configurable=values).with_retry(),
    "a retry of fields": lambda llm, values: (
        llm.configurable_fields(temperature=ConfigurableField(id="heat"))
        .with_config(configurable=values)
        .bind(top_k=3)
        .with_retry()
    ),
    "around a retry": lambda llm, values: llm.with_retry().with_config(configurable=values),
    "around fallbacks": lambda llm, values: llm.with_fallbacks([chat()]).with_config(
        configurable=values
    ),
}

# What is called in the run, with a config of the call.
CALLED: dict[str, Make] = {
    "invoke": lambda model, config: model.invoke(QUESTION, config),
    "stream": lambda model, config: list(model.stream(QUESTION, config)),
    "batch": lambda model, config: model.batch([QUESTION], config),
    "structured": lambda model, config: model.with_structured_output(SCHEMA).invoke(
        QUESTION, config
    ),
    "structured stream": lambda model, config: list(
        model.with_structured_output(SCHEMA, include_raw=True).stream(QUESTION, config)
    ),
}


def users_of(llm: ChatAmulet) -> set[str]:
    return seen_by(llm.engine) & set(TASTE)


@pytest.mark.parametrize("called", CALLED)
@pytest.mark.parametrize("configured", CONFIGURED)
def test_a_config_of_the_call_counts_before_a_bound_one_and_that_before_the_runs(
    configured: str, called: str
) -> None:
    llm = chat()
    run = {"configurable": {"user_id": "bob"}}
    cases: list[tuple[dict[str, Any], Any, str]] = [
        *(({"user_id": "ann"}, config, "ann") for config in (None, {}, {"tags": ["a"]})),
        ({"user_id": "ann"}, {"configurable": {"user_id": "bob"}}, "bob"),
        ({"user_id": "ann"}, {"configurable": {"preset": "strong"}}, "ann"),
        ({"preset": "strong"}, None, "bob"),
        ({"preset": "strong"}, {"run_name": "a"}, "bob"),
        ({"preset": "strong"}, {"configurable": {"max_kl": 1.0}}, "bob"),
        ({"preset": "strong"}, {"configurable": {"user_id": "ann"}}, "ann"),
    ]
    for values, config, user in cases:
        model = CONFIGURED[configured](llm, values)
        RunnableLambda(lambda _, m=model, c=config: CALLED[called](m, c)).invoke("", run)
        assert users_of(llm) == {user}, (values, config)


@pytest.mark.parametrize("configured", CONFIGURED)
def test_what_is_configured_reaches_the_methods_of_models(configured: str) -> None:
    llm = chat()
    model = CONFIGURED[configured](llm, {"user_id": "ann"})
    for method in METHODS.values():
        method(chat())
        method(model)
        assert users_of(llm) == {"ann"}
        llm.invoke(QUESTION)
    assert model.validate(QUESTION).user_id == "ann"
    assert asyncio.run(model.avalidate(QUESTION)).user_id == "ann"
    assert model.validate(QUESTION, {"configurable": {"user_id": "bob"}}).user_id == "bob"
    with pytest.raises(AmuletError, match="not_an_argument"):
        model.validate(QUESTION, not_an_argument=1)


def test_a_chain_hands_its_config_to_a_configured_model() -> None:
    llm = chat()
    model = llm.with_config(configurable={"user_id": "ann"})
    for chain in (RunnablePassthrough() | model, model.with_structured_output(SCHEMA)):
        chain.invoke(QUESTION, {"configurable": {"user_id": "bob"}})
        assert users_of(llm) == {"bob"}


def test_a_strangers_calls_cannot_be_validated() -> None:
    stranger = FakeListChatModel(responses=["x"]).with_fallbacks([chat()])
    model = AmuletFallbacks(runnable=stranger.runnable, fallbacks=stranger.fallbacks)
    with pytest.raises(InvalidParamsError, match="FakeListChatModel, which cannot validate"):
        model.validate(QUESTION)


@pytest.mark.parametrize("named", ["field", "option"])
def test_a_configured_model_answers_and_not_the_given_engine(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    other = ScriptedEngine()
    asked = []

    def load(source: Any) -> ScriptedEngine:
        asked.append(source.model)
        return other

    monkeypatch.setattr("amulet_integrations.engine.loaded_engines.shared_engine", load)
    llm = chat()
    field: Any = ConfigurableField(id="which")
    value = str(tmp_path)
    if named == "option":
        options = {"own": llm.model, "other": value}
        field = ConfigurableFieldSingleOption(id="which", options=options, default="own")
        value = "other"
    model = llm.configurable_fields(model=field)
    model.invoke(QUESTION)
    assert len(llm.engine.requests) == 1
    config = {"configurable": {"which": value, "user_id": "ann"}}
    model.invoke(QUESTION, config)
    model.generate([[HumanMessage(QUESTION)]])
    model.with_config(config).generate([[HumanMessage(QUESTION)]])
    assert asked == [str(tmp_path)] * len(asked)
    assert len(llm.engine.requests) == len(other.requests) == 2


def test_configured_calls_read_a_checkpoints_config_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    llm = ChatAmulet(model=tmp_path, profiles=None)
    model = llm.configurable_fields(temperature=ConfigurableField(id="heat"))
    engine = ScriptedEngine()
    monkeypatch.setattr("amulet_integrations.engine.loaded_engines.shared_engine", lambda _: engine)
    (tmp_path / "config.json").unlink()  # whoever reads it again fails
    for heat in (0.1, 0.2, 0.1):
        model.invoke(QUESTION, {"configurable": {"heat": heat}})
    assert [it.sampling.temperature for it in engine.requests] == [0.1, 0.2, 0.1]
