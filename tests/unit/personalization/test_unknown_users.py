"""Who is named and not found is reported once, by every way of asking; keys near ours too."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField, RunnableLambda
from typer.testing import CliRunner

from amulet_integrations import (
    InMemoryProfileStore,
    PreferenceProfile,
    SqlProfileStore,
    preference_scope,
)
from amulet_integrations.cli.app import app
from amulet_integrations.errors import (
    InvalidParamsError,
    PreferenceSelectionError,
    UnknownArgumentError,
    UnknownKeyWarning,
    UnknownUserError,
    UnknownUserWarning,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization import unknown_users
from amulet_integrations.profiles import CachedProfileStore
from tests.support.scripted import ScriptedEngine
from tests.support.wrappers import ASK, QUESTION, WRAPPERS, Ask, Wrapper, each

ANN = PreferenceProfile(user_id="ann", preferences=["Be brief."])

_names, _wrappers, _ways = zip(*each("chats", "completions"), strict=True)
every_way = pytest.mark.parametrize(
    ("wrapper", "ask"), list(zip(_wrappers, _ways, strict=True)), ids=_names
)
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default database, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "amulet-integrations" / "profiles.db"


@pytest.fixture
def reported() -> Iterator[Callable[[], list[warnings.WarningMessage]]]:
    """Returns our warnings since it was called last."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")

        def since() -> list[warnings.WarningMessage]:
            ours = [it for it in seen if "amulet" in it.category.__module__]
            seen.clear()
            return ours

        yield since


def applied(llm: Any, **call: Any) -> dict[str, Any]:
    """The metadata of an answer."""
    if isinstance(llm, ChatAmulet):
        return llm.invoke(QUESTION, **call).response_metadata["amulet"]
    return llm.complete(QUESTION, **call).raw["amulet"]


def config(**configurable: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": "1", **configurable}}


# A user who is not in the store.


@every_way
def test_an_unknown_user_is_reported_once_for_each_user_and_place(
    wrapper: Wrapper, ask: Ask, tmp_path: Path, reported: Any
) -> None:
    engine = ScriptedEngine()
    place = tmp_path / "profiles.db"
    llm = wrapper.make(engine=engine, profiles=place, profiles_ttl=0)
    with SqlProfileStore(place) as store:
        store.save(ANN)
    for user_id in ("ann", "zed", "zed", "o'neil"):
        ask(llm, ASK, user_id=user_id)
    assert [len(request.contexts) for request in engine.requests] == [2, 1, 1, 1]
    zed, oneil = reported()
    assert zed.category is UnknownUserWarning
    for part in (
        "'zed'",
        str(place),
        f'amulet profile set zed --preference "…" --profiles {place}',
    ):
        assert part in str(zed.message)
    assert "amulet profile set 'o'\"'\"'neil'" in str(oneil.message)


@every_way
def test_with_error_an_unknown_user_is_refused_before_anything_is_decoded(
    wrapper: Wrapper, ask: Ask
) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, profiles=InMemoryProfileStore([ANN]), unknown_user="error")
    ask(llm, ASK, user_id="ann")
    for _ in range(2):
        with pytest.raises(UnknownUserError, match=r"'zed'.*InMemoryProfileStore.*save\("):
            ask(llm, ASK, user_id="zed")
    assert len(engine.requests) == 1


@every_wrapper
def test_with_plain_nothing_is_said(wrapper: Wrapper, reported: Any) -> None:
    llm = wrapper.make(
        engine=ScriptedEngine(), profiles=InMemoryProfileStore(), unknown_user="plain"
    )
    found = applied(llm, user_id="zed")
    assert (found["method"], found["profile_version"], found["user_id"]) == ("base", None, "zed")
    assert reported() == []


# Nobody is named.


@every_way
def test_a_call_that_names_nobody_is_reported_once(
    wrapper: Wrapper, ask: Ask, reported: Any
) -> None:
    llm = wrapper.make(engine=ScriptedEngine(), profiles=InMemoryProfileStore([ANN]))
    with preference_scope(preset="gentle"):
        for _ in range(2):
            ask(llm, ASK)
    (warning,) = reported()
    assert warning.category is UnknownUserWarning
    assert "names no user" in str(warning.message)


@every_way
def test_with_error_every_call_that_names_nobody_is_refused(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, profiles=InMemoryProfileStore([ANN]), unknown_user="error")
    for _ in range(2):
        with pytest.raises(UnknownUserError, match="names no user"):
            ask(llm, ASK)
    ask(llm, ASK, user_id=None)
    assert len(engine.requests) == 1


@every_wrapper
def test_a_place_that_only_the_environment_names_is_no_reason_to_warn(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reported: Any
) -> None:
    monkeypatch.setenv("AMULET_PROFILES", str(tmp_path / "profiles.db"))
    applied(wrapper.make(engine=ScriptedEngine()))
    assert reported() == []


@every_wrapper
def test_a_call_that_means_nobody_is_not_reported(wrapper: Wrapper, reported: Any) -> None:
    store = InMemoryProfileStore([ANN])
    llm = wrapper.make(engine=ScriptedEngine(), profiles=store)
    guest = applied(llm, user_id=None)
    applied(llm, method="base")
    applied(llm.plain())
    for settings in (
        {"profiles": store, "unknown_user": "plain"},
        {"profiles": store, "preference": "Be brief."},
        {"profiles": store, "method": "base"},
        {"profiles": None},
        {},  # the default place, which the caller has not named
    ):
        applied(wrapper.make(engine=ScriptedEngine(), **settings))
    assert guest["user_id"] is None
    assert reported() == []


def test_a_chain_that_drops_the_user_is_reported_and_one_whose_config_names_a_guest_is_not(
    reported: Any,
) -> None:
    def ask(**options: Any) -> list[str]:
        llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore([ANN]))
        chain = RunnableLambda(lambda question: question) | llm
        chain.invoke(QUESTION, **options)
        return [str(it.message) for it in reported()]

    (dropped,) = ask(config={"metadata": {"user_id": "ann"}})
    assert '{"configurable": {"user_id": ...}}' in dropped
    assert ask(config=config(user_id=None)) == []
    assert ask(config=config(user_id="ann")) == []


@every_wrapper
def test_any_other_rule_is_refused(wrapper: Wrapper) -> None:
    with pytest.raises(InvalidParamsError, match=r"unknown_user='ignore'.*'plain'"):
        wrapper.make(engine=ScriptedEngine(), unknown_user="ignore")


@every_wrapper
def test_every_level_and_every_copy_reports_and_shares_what_was_reported(
    wrapper: Wrapper, reported: Any
) -> None:
    store = CachedProfileStore(InMemoryProfileStore([ANN]))
    llm = wrapper.make(engine=ScriptedEngine(), profiles=store, user_id="zed")
    applied(llm)
    assert len(reported()) == 1
    applied(llm.for_user("zoe"))
    with preference_scope(user_id="zac"):
        applied(llm)
    assert ["zoe" in str(warning.message) for warning in reported()] == [True, False]
    for copied in (llm, copy.deepcopy(llm), llm.model_copy(), llm.for_user("zed")):
        applied(copied)
    assert reported() == []


@every_wrapper
@pytest.mark.parametrize(
    "call",
    [{"user_id": "ann"}, {"preference": "Be kind."}, {"user_id": "zed", "method": "base"}],
)
def test_who_is_found_or_meant_to_be_plain_causes_no_warning(
    wrapper: Wrapper, call: dict[str, Any], reported: Any
) -> None:
    llm = wrapper.make(engine=ScriptedEngine(), profiles=InMemoryProfileStore([ANN]))
    applied(llm, **call)
    applied(llm.plain())
    with preference_scope(preference="Be kind."):
        applied(llm)
    with preference_scope(user_id="zed"):
        applied(llm.plain())
        applied(llm.for_user("ann"))
    assert reported() == []


def test_a_model_that_langchain_rebuilds_for_each_call_reports_once(reported: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore())
    rebuilt = llm.configurable_fields(temperature=ConfigurableField(id="heat"))
    for _ in range(3):
        rebuilt.invoke(QUESTION, config(user_id="zed", userid="zed", heat=0.1))
    llm.invoke(QUESTION, config(user_id="zed"))
    assert [it.category for it in reported()] == [UnknownUserWarning]


def test_a_warning_points_at_the_callers_line(reported: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore())
    llm.invoke(QUESTION, user_id="zed")
    assert reported()[0].filename == __file__


def test_what_was_reported_is_remembered_within_bounds(
    reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_users, "MOST_REMEMBERED", 3)
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore())
    for user_id in "abcadab":  # the b is forgotten for the d, and the c for the b
        llm.invoke(QUESTION, user_id=user_id)
    named = [str(warning.message).partition("'")[2][0] for warning in reported()]
    assert named == ["a", "b", "c", "d", "b"]
    # Python's own record of warnings keeps each message for good.
    assert not any("'a'" in str(key) for key in globals().get("__warningregistry__", {}))


def test_a_password_is_not_shown(tmp_path: Path, reported: Any) -> None:
    class Elsewhere(InMemoryProfileStore):
        """Someone else's store."""

        name = "postgresql://ann:hunter2@host/db"

        def __repr__(self) -> str:
            return f"Elsewhere({self.name})"

    llm = ChatAmulet(engine=ScriptedEngine(), profiles=Elsewhere())
    llm.invoke(QUESTION, user_id="zed")
    (message,) = reported()
    assert "hunter2" not in str(message.message)
    assert "Elsewhere" in str(message.message)


def test_a_client_with_reports_can_be_pickled() -> None:
    llm = ChatAmulet(model="embedded", user_id="zed", unknown_user="error")
    assert pickle.loads(pickle.dumps(llm)).unknown_user == "error"  # noqa: S301 - our own


# The default place.


ASK_ZED = """
from tests.support.scripted import ScriptedEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM

found = ChatAmulet(engine=ScriptedEngine(), user_id="zed").invoke("Hi").response_metadata["amulet"]
print(found["method"], found["profile_version"])
found = AmuletLLM(engine=ScriptedEngine()).complete("Hi", user_id="zed").raw["amulet"]
print(found["method"], found["profile_version"])
"""


def test_who_is_set_on_the_command_line_is_found_by_a_new_process(default: Path) -> None:
    saved = CliRunner().invoke(app, ["profile", "set", "zed", "Be brief."])
    assert saved.output == "Saved zed: 1 preference, version 1.\n"
    assert default.is_file()
    ran = subprocess.run(
        [sys.executable, "-c", ASK_ZED], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("amulet 1\namulet 1\n", "")


@pytest.mark.parametrize("variable", ["AMULET_PROFILES", "AMULET_DB"])
@pytest.mark.filterwarnings("ignore:.*AMULET_DB:FutureWarning")
def test_one_variable_names_the_place_for_all(
    default: Path, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "named.db"))
    ran = CliRunner().invoke(app, ["profile", "set", "zed", "Be brief."])
    assert ran.exit_code == 0
    assert ("AMULET_DB is now called AMULET_PROFILES" in ran.stderr) == (variable == "AMULET_DB")
    assert (tmp_path / "named.db").is_file()
    assert not default.exists()
    for wrapper in WRAPPERS:
        assert applied(wrapper.make(engine=ScriptedEngine(), user_id="zed"))["method"] == "amulet"


@every_wrapper
def test_the_default_place_is_used_as_soon_as_there_is_a_database(
    wrapper: Wrapper, default: Path, reported: Any
) -> None:
    llm = wrapper.make(engine=ScriptedEngine())
    with pytest.raises(PreferenceSelectionError) as caught:
        applied(llm, user_id="ann")
    assert str(default) in str(caught.value)
    assert str(caught.value).endswith('amulet profile set ann --preference "…"')
    assert not default.parent.exists()
    with SqlProfileStore() as store:
        store.save(ANN)
    assert applied(llm, user_id="ann")["profile_version"] == 1
    assert applied(llm.for_user("ann"))["method"] == "amulet"
    applied(llm, user_id="zed")
    assert str(reported()[0].message).partition(" (")[0].endswith('set zed --preference "…"')


def test_a_call_that_names_nobody_does_not_open_the_default_place(default: Path) -> None:
    default.parent.mkdir()
    default.write_text("This is no database.")
    for llm in (ChatAmulet(engine=ScriptedEngine()), AmuletLLM(engine=ScriptedEngine())):
        assert applied(llm)["method"] == "base"


@every_wrapper
def test_a_mistyped_path_is_reported_and_makes_nothing(
    wrapper: Wrapper, tmp_path: Path, reported: Any
) -> None:
    llm = wrapper.make(engine=ScriptedEngine(), profiles=tmp_path / "mis" / "typed.db")
    applied(llm, user_id=None)
    assert reported() == []
    found = applied(llm, user_id="ann")
    assert (found["method"], found["profile_version"]) == ("base", None)
    assert "mis/typed.db, which does not exist" in str(reported()[0].message)
    assert list(tmp_path.iterdir()) == []


# Configs.


@pytest.mark.parametrize("user_id", ["zed", 42])
def test_a_configs_user_without_a_store_is_reported_and_passed_over(
    default: Path, user_id: Any, reported: Any
) -> None:
    for given in ({}, {"profiles": None}):
        llm = ChatAmulet(engine=ScriptedEngine(), preference="Be brief.", **given)
        for _ in range(2):
            found = llm.invoke(QUESTION, config(user_id=user_id)).response_metadata["amulet"]
            assert (found["user_id"], found["source"]) == (None, "constructor")
        (warning,) = reported()
        assert f"'{user_id}'" in str(warning.message)
        assert (str(default) in str(warning.message)) == (not given)
        refusing = llm.model_copy(update={"unknown_user": "error"})
        with pytest.raises(UnknownUserError, match="profiles="):
            refusing.invoke(QUESTION, config(user_id=user_id))


def test_where_the_user_is_named_otherwise_the_configs_user_does_not_matter(reported: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=None)
    llm.plain().invoke(QUESTION, config(user_id="zed", userid="zed"))
    llm.invoke(QUESTION, config(user_id="zed", user="zed"), preference="Be kind.")
    with preference_scope(preference="Be kind."):
        llm.invoke(QUESTION, config(user_id="zed", userId="zed"))
    llm.invoke(QUESTION, config(user_id=""))
    llm.invoke(QUESTION, config(user_id={"id": 4}))
    assert reported() == []


KEYS = {
    "userid": "user_id",
    "user-id": "user_id",
    "userId": "user_id",
    "USER_ID": "user_id",
    "user": "user_id",
    "usr_id": "user_id",
    "user_ids": "user_id",
    "preferenceContext": "preference_context",
    "preference_contxt": "preference_context",
    "guidance-scale": "guidance_scale",
    "guidence_scale": "guidance_scale",
    "maxKL": "max_kl",
    "preset_": "preset",
    "preest": "preset",
    "guidance": "guidance_scale",
    "strength": "guidance_scale",
    "kl": "max_kl",
    "pref_context": "preference_context",
    "preference": "preference=",
    "preferences": "preference=",
}


async def _astream(llm: ChatAmulet, given: Any) -> None:
    async for _ in llm.astream(QUESTION, given):
        pass


WAYS: dict[str, Callable[[ChatAmulet, Any], Any]] = {
    "invoke": lambda llm, given: llm.invoke(QUESTION, given),
    "stream": lambda llm, given: list(llm.stream(QUESTION, given)),
    "batch": lambda llm, given: llm.batch([QUESTION, QUESTION], given),
    "chain": lambda llm, given: (llm | (lambda answer: answer)).invoke(QUESTION, given),
    "bound": lambda llm, given: llm.with_config(given).invoke(QUESTION),
    "structured": lambda llm, given: llm.bind_tools([], tool_choice="none").invoke(QUESTION, given),
}


@pytest.mark.parametrize("store", [None, InMemoryProfileStore([ANN])], ids=["none", "store"])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_near_ours_is_reported(key: str, store: Any, reported: Any) -> None:
    value: Any = "strong" if KEYS[key] == "preset" else "ann"
    if key in {"guidance", "strength", "kl"}:
        value = 3.0
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=store)
    llm.invoke(QUESTION, config(**{key: value}))
    (warning,) = reported()
    assert warning.category is UnknownKeyWarning
    assert repr(key) in str(warning.message)
    assert KEYS[key] in str(warning.message)
    refusing = ChatAmulet(engine=ScriptedEngine(), profiles=store, unknown_user="error")
    with pytest.raises(UnknownArgumentError, match=KEYS[key]):
        refusing.invoke(QUESTION, config(**{key: value}))
    quiet = ChatAmulet(engine=ScriptedEngine(), profiles=store, unknown_user="plain")
    quiet.invoke(QUESTION, config(**{key: value}))
    assert reported() == []


@pytest.mark.parametrize("way", WAYS)
def test_it_is_reported_by_every_way_of_asking_and_once(way: str, reported: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore())
    for _ in range(2):
        WAYS[way](llm, config(userid="zed"))
        WAYS[way](llm, config(user_id="zed"))
    assert [it.category for it in reported()] == [UnknownKeyWarning, UnknownUserWarning]


async def test_it_is_reported_on_an_event_loop_too(reported: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=InMemoryProfileStore())
    for name in ("userid", "user_id"):
        await llm.ainvoke(QUESTION, config(**{name: "zed"}))
        await llm.abatch([QUESTION], config(**{name: "zed"}))
        await _astream(llm, config(**{name: "zed"}))
    assert [it.category for it in reported()] == [UnknownKeyWarning, UnknownUserWarning]


FOREIGN = {
    "thread_id": "1",
    "run_id": "1",
    "session_id": "1",
    "assistant_id": "1",
    "customer_id": "1",
    "langgraph_auth_user_id": "ann",
    "langgraph_auth_user": {"identity": "ann"},
    "user": {"name": "ann"},
    "checkpoint_ns": "",
    "username": "ann",
    "model": "x",
    "reset": "strong",
    "present": True,
    "presets": ["a"],
    "prompt": "default",
    "provider": "default",
    "profile": "default",
    "params": {"a": 1},
    "max_k": 4,
    "temperature": 0.1,
    "context": {},
    "scale": 2,
    "reference": "x",
}


def test_keys_of_others_give_nothing(reported: Any) -> None:
    llm = ChatAmulet(
        engine=ScriptedEngine(), profiles=InMemoryProfileStore([ANN]), unknown_user="error"
    )
    llm.invoke(QUESTION, config(user_id=None, **FOREIGN))
    llm.invoke(QUESTION, config(user_id="ann", userid="zed", user="zed"))
    assert reported() == []


def test_each_key_and_each_user_of_a_config_without_a_store_is_reported_once() -> None:
    reports = unknown_users.UnknownUsers()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for user in ("ann", "ben", "ann", "ben"):
            reports.report_config_user("warn", user, Path("gone.db"))
            reports.report_key("warn", f"{user}s key", f"The key of {user} is unknown.")
    first, key, second, other_key = (str(it.message) for it in caught)
    assert ("The key of ann" in key, "The key of ben" in other_key) == (True, True)
    assert "'ann'" in first
    assert "profile set ann" in first
    assert "'ben'" in second
