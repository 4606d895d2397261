"""What the operator allows one user holds in every store, at every door, and in both wrappers."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.store.memory import InMemoryStore
from llama_index.core.storage.kvstore import SimpleKVStore

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    ProfileLimits,
    SqlProfileStore,
    preference_scope,
)
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    InvalidRequestError,
    ProfileLimitError,
)
from amulet_integrations.langchain import (
    ChatAmulet,
    LangGraphProfileStore,
    PreferenceMiddleware,
)
from amulet_integrations.langchain.agents.preference_tools import preference_tools
from amulet_integrations.llama_index import KVProfileStore
from amulet_integrations.profiles import (
    CachedProfileStore,
    export_profiles,
    import_profiles,
    inherited,
    line_of,
    open_profile_store,
)
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import (
    aread_whole_profile,
    aupdate_profile,
    read_whole_profile,
    update_profile,
)
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.support.wrappers import ASK, WRAPPERS, Ask, Wrapper, each
from tests.unit.langchain.agents.support import calls, graph_of

LIMITS = ProfileLimits(
    max_preferences=3,
    max_active_preferences=2,
    max_contexts=2,
    max_preference_chars=20,
    max_preference_tokens=12,
    parents={"team"},
)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


class ForeignStore:
    """What somebody else wrote, by the protocol alone."""

    def __init__(self) -> None:
        self.kept: dict[str, PreferenceProfile] = {}

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        self.kept[profile.user_id] = profile.model_copy(update={"version": profile.version + 1})
        return self.kept[profile.user_id]

    def get(self, user_id: str) -> PreferenceProfile | None:
        return self.kept.get(user_id)

    def delete(self, user_id: str) -> bool:
        return self.kept.pop(user_id, None) is not None

    def user_ids(self) -> list[str]:
        return sorted(self.kept)


def unpickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own


STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda _: InMemoryProfileStore(limits=LIMITS),
    "sql": lambda place: SqlProfileStore(place, limits=LIMITS),
    "opened": lambda place: open_profile_store(str(place), ttl=5, limits=LIMITS),
    "langgraph": lambda _: LangGraphProfileStore(InMemoryStore(), limits=LIMITS),
    "llama_index": lambda _: KVProfileStore(SimpleKVStore(), limits=LIMITS),
    "cached": lambda _: CachedProfileStore(InMemoryProfileStore(limits=LIMITS)),
    "unpickled": lambda place: unpickled(SqlProfileStore(place, limits=LIMITS)),
}


def as_file(profile: PreferenceProfile) -> str:
    head = {"format": "amulet-profiles", "format_version": 1}
    return json.dumps({**head, "profiles": [profile.model_dump(mode="json")]})


def to_import(store: Any, profile: PreferenceProfile) -> None:
    own = getattr(store, "import_json", None)
    return own(as_file(profile)) if own else import_profiles(store, as_file(profile))


DOORS: dict[str, Callable[[Any, PreferenceProfile], object]] = {
    "save": lambda store, it: store.save(it),
    "asave": lambda store, it: asyncio.run(store.asave(it)),
    "update": lambda store, it: store.update(it.user_id, lambda _: it),
    "aupdate": lambda store, it: asyncio.run(store.aupdate(it.user_id, lambda _: it)),
    "update_profile": lambda store, it: update_profile(store, it.user_id, lambda _: it),
    "aupdate_profile": lambda store, it: asyncio.run(
        aupdate_profile(store, it.user_id, lambda _: it)
    ),
    "import": to_import,
    "import_profiles": lambda store, it: import_profiles(store, as_file(it)),
}
# What another store has done already is left out of these.
FEW_DOORS = {"opened": ["save", "aupdate", "import_profiles"], "unpickled": ["save"]}
STORES_AND_DOORS = [(store, door) for store in STORES for door in FEW_DOORS.get(store, DOORS)]


def off(count: int) -> list[Preference]:
    """Preferences that never apply."""
    return [Preference(text=f"Off {number}.", weight=0) for number in range(count)]


def of(*preferences: Any, **fields: Any) -> PreferenceProfile:
    return PreferenceProfile(user_id="ann", preferences=preferences, **fields)


HALF = Preference(text="Be kind.", weight=0.5)
TOO_MUCH: dict[str, tuple[PreferenceProfile, str]] = {
    "stored": (of(*off(4)), r"'ann' has 4 preferences; .* 3 .*max_preferences=4"),
    "active": (of("a", "b", "c"), r"3 active preferences.* 2 .*max_active_preferences=3"),
    "contexts": (of("Be brief.", HALF), r"3 contexts.* 2 .*max_contexts=3"),
    "chars": (of("x" * 21), r"of 21 characters.* 20 .*max_preference_chars=21"),
    "parent": (of(parent="boss"), r"parent='boss' of 'ann' is not allowed.*parents=\{'boss'\}"),
}
ENOUGH = [
    of(*off(3)),
    of("a", "b", parent="team"),
    of(HALF, Preference(text="x" * 20, valid_from=TOMORROW), Preference(text="b", when={"a": "b"})),
]


@pytest.mark.parametrize(("kind", "door"), STORES_AND_DOORS)
def test_no_door_takes_more_than_is_allowed(kind: str, door: str, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path / "profiles.db")
    for profile, message in TOO_MUCH.values():
        with pytest.raises(ProfileLimitError, match=message) as caught:
            DOORS[door](store, profile)
        assert "runs the application" in str(caught.value)
        assert "x" * 20 not in str(caught.value)
        assert store.get("ann") is None
    for profile in ENOUGH:
        DOORS[door](store, profile)
        assert store.get("ann").preferences == profile.preferences


@pytest.mark.parametrize("case", TOO_MUCH)
def test_a_store_begins_within_its_limits_and_a_foreign_one_is_written_within_them(
    case: str,
) -> None:
    profile, message = TOO_MUCH[case]
    with pytest.raises(ProfileLimitError, match=message):
        InMemoryProfileStore([profile], limits=LIMITS)
    foreign = ForeignStore()
    with pytest.raises(ProfileLimitError, match=message):
        update_profile(foreign, "ann", lambda _: profile, limits=LIMITS)
    with pytest.raises(ProfileLimitError, match="'boss'"):  # by default
        update_profile(foreign, "ann", lambda _: of(parent="boss"))
    assert foreign.user_ids() == []


def test_what_is_stored_above_a_limit_can_be_read_and_made_smaller(tmp_path: Path) -> None:
    place = tmp_path / "profiles.db"
    many = of("x" * 30, *(Preference(text=f"p{n}", weight=0.5) for n in range(9)))
    SqlProfileStore(place, limits=ProfileLimits(max_contexts=11)).save(many)
    store = SqlProfileStore(place, limits=LIMITS)
    assert store.get("ann").preferences == many.preferences
    for count in (10, 9, 5):  # the same number, then fewer, with the long one among them
        kept = many.preferences[:count]
        assert store.save(of(*kept, preset="gentle")).preferences == kept
    for more in (of(*many.preferences[:6]), of("y" * 21)):
        with pytest.raises(ProfileLimitError):
            store.save(more)
    store.save(of("Be brief."))
    with pytest.raises(ProfileLimitError, match="10 preferences"):
        store.restore("ann", 1)


@pytest.mark.parametrize("kind", ["memory", "sql", "langgraph", "llama_index", "cached"])
def test_a_store_takes_its_own_export_back_after_its_limits_were_lowered(
    kind: str, tmp_path: Path
) -> None:
    place, generous = tmp_path / "profiles.db", ProfileLimits(parents={"boss"})
    store = SqlProfileStore(place, limits=generous) if kind == "sql" else STORES[kind](place)
    limited = getattr(store, "store", store)
    limited.limits = generous
    boss = PreferenceProfile(user_id="boss", preferences=["y" * 30])
    ann = of("x" * 30, HALF, "a", "b", *off(9), parent="boss")
    for profile in (boss, ann):
        store.save(profile)
    text = export_profiles(store)
    limited.limits = LIMITS
    if kind == "sql":
        store = SqlProfileStore(place, limits=LIMITS)
    for bring_back in (to_import, import_profiles):
        whole = text if bring_back is import_profiles else store.get("ann")
        bring_back(store, whole)
        for profile in (boss, ann):
            found = store.get(profile.user_id)
            assert (found.preferences, found.parent) == (profile.preferences, profile.parent)
    for more in (
        ann.model_copy(update={"preferences": (*ann.preferences, *off(10)[9:])}),
        ann.model_copy(update={"user_id": "bob"}),
        of(parent="chief"),
        PreferenceProfile(user_id="bob", parent="boss"),
    ):
        before = export_profiles(store, ["ann", "boss"])
        for bring_back in (to_import, lambda store, it: import_profiles(store, as_file(it))):
            with pytest.raises(ProfileLimitError):
                bring_back(store, more)
        assert json.loads(export_profiles(store))["profiles"] == json.loads(before)["profiles"]
    store.delete("ann")
    with pytest.raises(ProfileLimitError, match=r"profiles\[0\].*13 preferences"):
        import_profiles(store, text)


def test_only_whom_the_operator_names_can_be_a_parent_wherever_a_line_is_read() -> None:
    ann, boss = of("Be brief.", parent="boss"), PreferenceProfile(user_id="boss", preferences=["x"])
    sneaky = ForeignStore()  # which checks nothing itself
    for profile in (ann, boss):
        sneaky.save(profile)
    readings: list[Callable[[ProfileLimits | None], object]] = [
        lambda limits: read_whole_profile(sneaky, "ann", limits),
        lambda limits: asyncio.run(aread_whole_profile(sneaky, "ann", limits)),
        lambda limits: inherited(line_of(ann, sneaky.get, limits)),
    ]
    for read in readings:
        for limits in (None, ProfileLimits(parents={"team", "ann"})):
            with pytest.raises(ProfileLimitError, match="'boss'"):
                read(limits)
        assert read(ProfileLimits(parents={"boss"})).preferences == (
            boss.preferences + ann.preferences
        )


def test_a_rule_may_depend_on_who_builds_on_whom() -> None:
    def own_team(user_id: str, parent: str) -> bool:
        return parent == f"team:{user_id[0]}" or (user_id, parent) == ("team:a", "all")

    store = InMemoryProfileStore(limits=ProfileLimits(parents=own_team))
    store.save(PreferenceProfile(user_id="all", preferences=["Be kind."]))
    store.save(PreferenceProfile(user_id="team:a", parent="all"))
    store.save(of(parent="team:a"))
    assert [it.text for it in read_whole_profile(store, "ann").preferences] == ["Be kind."]
    for user_id, parent in [("bob", "team:a"), ("ann", "all"), ("ann", "team:b")]:
        with pytest.raises(ProfileLimitError, match=f"{parent!r} of {user_id!r}"):
            store.save(PreferenceProfile(user_id=user_id, parent=parent))
    with pytest.raises(InvalidParamsError, match=r"own_team.*cannot be pickled"):
        pickle.dumps(store.limits)


async def allows_later(user_id: str, parent: str) -> bool:
    return False


def yields(user_id: str, parent: str) -> Any:
    yield False


async def yields_later(user_id: str, parent: str) -> Any:
    yield False


class Asker:
    async def __call__(self, user_id: str, parent: str) -> bool:
        return False


@pytest.mark.parametrize(
    "rule",
    [
        allows_later,
        partial(allows_later),
        partial(partial(allows_later)),
        Asker(),
        Asker().__call__,
        yields,
        yields_later,
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_rule_that_has_to_be_awaited_or_read_is_refused(rule: Any) -> None:
    with pytest.raises(InvalidParamsError, match=r"parents=.*plain function"):
        ProfileLimits(parents=rule)
    with pytest.raises(InvalidParamsError, match="plain function"):
        ProfileLimits().model_copy(update={"parents": rule})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda: asyncio.sleep(0), "returned a coroutine"),
        (lambda: 1, "returned a int"),
        (lambda: "no", "returned a str"),
        (lambda: None, "returned a NoneType"),
        (lambda: 1 / 0, "failed: ZeroDivisionError"),
        (lambda: {}["boss"], "failed: KeyError"),
    ],
)
def test_a_rule_without_a_clear_answer_allows_nobody(answer: Any, problem: str) -> None:
    limits = ProfileLimits(parents=lambda user_id, parent: answer())
    store, foreign, ann = InMemoryProfileStore(limits=limits), ForeignStore(), of(parent="boss")
    foreign.save(ann)
    attempts: list[Callable[[], object]] = [
        *(lambda door=door: door(store, ann) for door in DOORS.values()),
        lambda: read_whole_profile(foreign, "ann", limits),
        lambda: line_of(ann, foreign.get, limits),
    ]
    for wrapper in WRAPPERS:
        llm = wrapper.make(engine=ScriptedEngine(), profiles=foreign, profile_limits=limits)
        ask = next(iter({**wrapper.chats, **wrapper.completions}.values()))
        attempts.append(lambda ask=ask, llm=llm: ask(llm, ASK, user_id="ann"))
        attempts.append(lambda ask=ask, llm=llm: ask(llm, ASK, profile=ann))
    for attempt in attempts:
        with pytest.raises(ProfileLimitError, match=f"'boss' of 'ann'.*{problem}"):
            attempt()
    assert store.user_ids() == []


# The tools


def test_the_tools_keep_within_the_limits_and_tell_the_model() -> None:
    def told(limits: dict[str, int], profiles: Any, preference: str) -> str:
        tools = preference_tools(profiles, profile_limits=ProfileLimits(**limits))
        message = calls(("remember_preference", {"preference": preference}))
        return graph_of(tools).invoke(message, context={"user_id": "ann"})["messages"][-1].content

    for profiles in (InMemoryProfileStore(), ForeignStore()):
        assert "Remembered" in told({"max_preferences": 1}, profiles, "Be kind.")
        before = profiles.get("ann")
        assert "at most 1 preferences" in told({"max_preferences": 1}, profiles, "Be brief.")
        assert "at most 4 are" in told({"max_preference_chars": 4}, profiles, "Be brief.")
        few = told({"max_active_preferences": 1}, profiles, "Be brief.")
        assert re.match("Nothing was remembered: .*max_active_preferences=2", few)
        assert profiles.get("ann") == before


# Calls


every_way = pytest.mark.parametrize(
    ("wrapper", "ask"),
    [pytest.param(wrapper, ask, id=name) for name, wrapper, ask in each("chats", "completions")],
)
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)
TOO_MUCH_TO_SAY = {
    "preference": ({"preference": "x" * 21}, "21 characters"),
    "stored": ({"profile": of(*off(4))}, "4 preferences"),
    "active": ({"profile": of("a", "b", "c")}, "max_active_preferences=3"),
    "contexts": ({"profile": of("Be brief.", HALF)}, "max_contexts=3"),
    "at times": (
        {"profile": of("a", "b", Preference(text="c", valid_until=TOMORROW))},
        "max_active_preferences=3",
    ),
    "parent": ({"profile": of(parent="boss")}, "'boss' of 'ann' is not allowed"),
    # The version is the caller's to fill.
    "stored once": ({"profile": of(*off(4), version=7, updated_at=TOMORROW)}, "4 preferences"),
    "stored long": ({"profile": of("x" * 21, version=1)}, "21 characters"),
    "tokens": ({"preference": "Be kind to cats now!"}, "max_preference_tokens="),
    "sums of parents": ({"user_id": "ann"}, "max_active_preferences=4"),
    "a parent in the store": ({"user_id": "bob"}, "'boss' of 'bob' is not allowed"),
}


MORE_TOKENS = LIMITS.model_copy(update={"max_preference_tokens": 64})


def filled() -> InMemoryProfileStore:
    """Two for ann of her own and two of her team's: four that apply, and none too many to save."""
    any_parent = ProfileLimits(parents=lambda user_id, parent: True)
    team = PreferenceProfile(user_id="team", preferences=["c", "d"])
    bob = PreferenceProfile(user_id="bob", parent="boss")
    boss = PreferenceProfile(user_id="boss", preferences=["Secret."])
    cid = PreferenceProfile(user_id="cid", preferences=["z" * 30, *off(9)])
    ann = of("a", "b", parent="team")
    return InMemoryProfileStore([team, ann, boss, bob, cid], limits=any_parent)


@every_way
def test_no_call_costs_more_than_is_allowed(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    settings = {"engine": engine, "profiles": filled(), "profile_limits": LIMITS}
    llm = wrapper.make(**settings)
    for arguments, message in TOO_MUCH_TO_SAY.values():
        with pytest.raises(AmuletError, match=message) as caught:
            ask(llm, ASK, **arguments)
        assert "x" * 21 not in str(caught.value)
        assert isinstance(caught.value, ProfileLimitError)
        with preference_scope(**arguments), pytest.raises(ProfileLimitError, match=message):
            ask(llm, ASK)
    assert engine.requests == []
    ask(llm, ASK, profile=of("a", "b"))
    assert len(engine.requests) == 1
    engine.requests.clear()  # what is stored may exceed limits that no call exceeds
    ask(wrapper.make(**{**settings, "profile_limits": MORE_TOKENS}), ASK, user_id="cid")
    assert len(engine.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_in_agents_what_is_stored_may_exceed_a_limit_and_what_is_given_may_not(
    is_async: bool,
) -> None:
    engine, store = ScriptedEngine(), filled()
    agent = create_agent(
        ChatAmulet(engine=engine, profile_limits=MORE_TOKENS),
        middleware=[PreferenceMiddleware(store, profile_limits=MORE_TOKENS, tools=False)],
    )

    def run(**config: Any) -> None:
        messages, options = {"messages": [("user", "Hi")]}, {"configurable": config}
        if is_async:
            asyncio.run(agent.ainvoke(messages, options))
        else:
            agent.invoke(messages, options)

    run(user_id="cid")
    for parent in (None, "team", "none"):
        given = of(*off(4), parent=parent, version=2)
        with (
            preference_scope(profile=given),
            pytest.raises(ProfileLimitError, match="4 preferences"),
        ):
            run()
    with pytest.raises(ProfileLimitError, match="max_active_preferences=4"):
        run(user_id="ann")
    assert len(engine.requests) == 1


@every_wrapper
def test_a_wrapper_is_not_made_with_too_much_and_a_stores_limits_are_its_own(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    make = wrapper.make
    for name in ("preference", "stored", "active", "contexts", "parent", "stored once"):
        arguments, message = TOO_MUCH_TO_SAY[name]
        for limited in (
            {"profile_limits": LIMITS},
            {"profiles": InMemoryProfileStore(limits=LIMITS)},
        ):
            with pytest.raises(ProfileLimitError, match=message):
                make(engine=ScriptedEngine(), **limited, **arguments)
    llm = make(engine=ScriptedEngine(), profiles=tmp_path / "a.db", profile_limits=LIMITS)
    assert llm.personalizer.store.limits == LIMITS
    copy = make(**{**llm.model_dump(mode="json"), "engine": ScriptedEngine()})
    assert copy.profile_limits == LIMITS
    assert unpickled(LIMITS) == LIMITS
    assert hash(LIMITS) == hash(ProfileLimits(**dict(LIMITS)))


@every_wrapper
def test_a_request_of_more_rows_than_the_engine_has_is_refused(wrapper: Wrapper) -> None:
    profile = of(*(Preference(text=f"Be {n}.", weight=0.5) for n in range(4)))
    with LocalEngine(tiny_model(), tiny_tokenizer(), max_rows=4) as engine:
        llm = wrapper.make(engine=engine, max_tokens=2)
        ways = {**wrapper.chats, **wrapper.completions}
        for name, ask in ways.items():
            with pytest.raises(InvalidRequestError, match=r"5 contexts.*max_rows=4"):
                ask(llm, ASK, profile=profile)
            if name in {"invoke", "chat"}:  # what fits runs
                assert ask(llm, ASK, profile=of(*profile.preferences[:3])).completion_tokens
        for check in wrapper.checks.values():
            with pytest.raises(InvalidRequestError, match=r"5 contexts.*max_rows=4"):
                check(llm, ASK, profile=profile)
        assert engine.stats.is_idle


# The limits themselves


def test_the_environment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    default = ProfileLimits()
    assert not default.parents
    assert default.max_contexts < 64 // 4  # max_rows: several users at once
    monkeypatch.setenv("AMULET_MAX_CONTEXTS", " 3 ")
    monkeypatch.setenv("AMULET_MAX_PREFERENCES", "")
    monkeypatch.setenv("AMULET_MAX_PREFERENCE_CHARS", "5000")
    monkeypatch.setenv("AMULET_PROFILE_PARENTS", "team, all staff,")
    read = ProfileLimits()
    assert (read.max_contexts, read.max_preferences) == (3, default.max_preferences)
    assert read.max_preference_chars == 5000
    assert read.parents == {"team", "all staff"}
    assert limits_of("a store without limits") == read
    assert limits_of("another one") is limits_of("a store without limits")
    assert ProfileLimits(max_contexts=5, parents=()).max_contexts == 5
    assert ProfileLimits(parents=()).parents == frozenset()
    InMemoryProfileStore().save(of(parent="all staff"))
    for bad in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("AMULET_MAX_CONTEXTS", bad)
        with pytest.raises(InvalidParamsError, match=f"AMULET_MAX_CONTEXTS='{bad}'"):
            ProfileLimits()


@pytest.mark.parametrize(
    "given",
    [
        *({name: bad} for name in ("max_preferences", "max_contexts") for bad in (0, -1, 1.5, "4")),
        {"max_preference_tokens": True},
        {"max_active_preferences": None},
        {"max_preference_chars": 2001},
        {"parents": "team"},
        {"parents": None},
        {"parents": [1]},
        {"parents": {""}},
        {"max_context": 3},
    ],
    ids=str,
)
def test_limits_that_are_none_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises((InvalidParamsError, AmuletError), match=next(iter(given))) as caught:
        ProfileLimits(**given)
    assert isinstance(caught.value, ValueError)
