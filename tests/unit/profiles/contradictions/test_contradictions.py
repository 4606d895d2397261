"""Contradictions between preferences: how many are found, which are none, and who is told."""

from __future__ import annotations

import threading
import warnings
from datetime import UTC, datetime

import pytest
from langgraph.store.memory import InMemoryStore

from amulet_integrations import Preference, PreferenceProfile
from amulet_integrations.errors import PreferenceContradictionWarning
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.profiles import (
    CachedProfileStore,
    InMemoryProfileStore,
    ProfileStore,
    SqlProfileStore,
    find_contradictions,
    import_plain_text,
)
from amulet_integrations.profiles.contradictions import contradiction_warning
from tests.unit.profiles.contradictions import preference_pairs as pairs

BRIEF, LONG = "Answer briefly.", "Write long, detailed answers."
SPLIT = datetime(2026, 6, 1, tzinfo=UTC)


def contradicts(*preferences: str | Preference) -> bool:
    made = [it if isinstance(it, Preference) else Preference(text=it) for it in preferences]
    return bool(find_contradictions(made))


@pytest.mark.parametrize(
    ("contradicting", "least", "compatible"),
    [
        (pairs.CONTRADICTING, 31, pairs.COMPATIBLE),
        (pairs.LATER_CONTRADICTING, 17, pairs.LATER_COMPATIBLE),
        (pairs.HELD_OUT_CONTRADICTING, 11, pairs.HELD_OUT_COMPATIBLE),
    ],
)
def test_most_of_what_it_knows_is_found_and_nothing_is_seen_falsely(
    contradicting, least, compatible
):
    assert len([it for it in contradicting if contradicts(*it)]) >= least
    assert [it for it in compatible if contradicts(*it)] == []


def test_what_holds_in_places_only_contradicts_nothing_elsewhere():
    assert [it for it in pairs.ATTACKING if contradicts(*it)] == []


@pytest.mark.parametrize("pair", [*pairs.CONTRADICTING, *pairs.COMPATIBLE, *pairs.ATTACKING])
def test_the_order_does_not_matter_and_nothing_contradicts_itself(pair):
    assert contradicts(*pair) == contradicts(*reversed(pair))
    assert not contradicts(pair[0], pair[0])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"when": {"at": "work"}}, {"when": {"at": "home"}}, False),
        ({"when": {"at": "work"}}, {"when": {"at": "work"}}, True),
        ({"when": {"at": "work"}}, {"when": {"topic": "code"}}, True),
        ({"when": {"at": "work"}}, {}, True),
        ({"weight": 0.0}, {}, False),
        ({"weight": -1.0}, {}, False),
        ({"weight": 0.5}, {}, True),
        ({"valid_until": SPLIT}, {"valid_from": SPLIT}, False),
        ({"valid_from": SPLIT}, {"valid_until": SPLIT}, False),
        ({"valid_until": SPLIT}, {"valid_until": SPLIT}, True),
    ],
)
def test_preferences_that_never_meet_do_not_contradict_each_other(one, other, expected):
    assert contradicts(Preference(text=BRIEF, **one), Preference(text=LONG, **other)) is expected


def test_a_negative_weight_reverses_what_is_wanted():
    assert contradicts(Preference(text=BRIEF, weight=-1.0), "Be concise.")


@pytest.mark.parametrize(
    "text",
    [
        "Answer briefly, but explain code in detail.",
        "Be brief unless I ask for more.",
        "Short answers when I am at work, long ones otherwise.",
        "Answer in German or in English.",
        "x" * 401 + " answer briefly",
    ],
)
def test_a_preference_with_exceptions_is_left_alone(text):
    assert not contradicts(text, LONG)
    assert not contradicts(text, BRIEF)
    assert not contradicts(text, "Answer in French.") or "German" not in text


def test_what_is_told_names_places_and_quotes_nothing():
    found = find_contradictions(
        [Preference(text="Use my secret lists."), Preference(text=BRIEF, name="length"), Preference(text=LONG)]  # noqa: E501
    )  # fmt: skip
    assert [str(it) for it in found] == [
        "preference 2 ('length') and preference 3 disagree on length: short and long"
    ]
    assert found[0].as_json() == {
        "preferences": [1, 2],
        "names": ["length", None],
        "about": "length",
        "wants": ["short", "long"],
    }


@pytest.fixture(params=["memory", "sql", "langgraph", "cached"])
def store(request, tmp_path) -> ProfileStore:
    made = {
        "memory": InMemoryProfileStore,
        "sql": lambda: SqlProfileStore(tmp_path / "profiles.db"),
        "langgraph": lambda: LangGraphProfileStore(InMemoryStore()),
        "cached": lambda: CachedProfileStore(InMemoryProfileStore()),
    }
    return made[request.param]()


def contradictory(user_id: str) -> PreferenceProfile:
    return PreferenceProfile(user_id=user_id, preferences=[BRIEF, LONG])


def test_every_store_warns_at_the_line_that_saves_and_saves_all_the_same(store):
    with pytest.warns(PreferenceContradictionWarning, match="disagree on length") as told:
        store.save(contradictory("ann"))
    assert told[0].filename == __file__
    assert "briefly" not in str(told[0].message)
    with pytest.warns(PreferenceContradictionWarning):
        store.update("ben", lambda _: contradictory("ben"))
    assert store.get("ann").preferences == store.get("ben").preferences
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.get("ann")
        store.save(PreferenceProfile(user_id="zoe", preferences=[BRIEF, "Use lists."]))


def test_whoever_makes_an_error_of_the_warning_stores_nothing(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PreferenceContradictionWarning)
        with pytest.raises(PreferenceContradictionWarning):
            store.save(contradictory("ann"))
        with pytest.raises(PreferenceContradictionWarning):
            store.update("ann", lambda _: contradictory("ann"))
    assert store.get("ann") is None


async def test_async_writes_warn_too(store):
    if hasattr(store, "asave"):
        with pytest.warns(PreferenceContradictionWarning):
            await store.asave(contradictory("ann"))


async def test_async_writes_look_for_contradictions_on_a_thread(monkeypatch):
    threads = []

    def recorded(preferences):
        threads.append(threading.get_ident())
        return find_contradictions(preferences)

    monkeypatch.setattr(contradiction_warning, "find_contradictions", recorded)
    store = LangGraphProfileStore(InMemoryStore())
    with pytest.warns(PreferenceContradictionWarning):
        await store.asave(contradictory("ann"))
    with pytest.warns(PreferenceContradictionWarning):
        await store.aupdate("ben", lambda _: contradictory("ben"))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_an_import_tells_in_its_report():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = InMemoryProfileStore()
        report = import_plain_text(store, f"{BRIEF}\n{LONG}\nUse lists.", user_id="ann")
    assert [it.about for it in report.contradictions["ann"]] == ["length"]
    assert report.as_json()["contradictions"]["ann"][0]["preferences"] == [0, 1]
    assert store.get("ann").version == 1


def test_many_contradictions_make_a_short_warning():
    preferences = [Preference(text=text) for text in (BRIEF, LONG) * 32]
    with pytest.warns(PreferenceContradictionWarning, match=r"and 1,019 more") as told:
        InMemoryProfileStore().save(PreferenceProfile(user_id="ann", preferences=preferences))
    assert len(str(told[0].message)) < 1000
