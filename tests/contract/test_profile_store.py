"""What every store of profiles promises, checked on all of them alike."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from langgraph.store.memory import InMemoryStore

from amulet_integrations.decoding.params import AmuletParams
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.profiles import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    ProfileStore,
    SqlProfileStore,
)

ODD_IDS = ["Ann", "ann", "ann ", "älice@例え.jp", "😀", "o'brien; --", "50%_", "a/b", "x" * 256]
ODD_IDS += [".", "..", "a.b", "a%2Eb", "%", "%25", "*", "langgraph", "{user_id}", "users"]


@pytest.fixture(params=["in_memory", "sqlite_file", "sqlite_in_memory", "langgraph"])
def store(request, tmp_path):
    if request.param == "in_memory":
        yield InMemoryProfileStore()
    elif request.param == "langgraph":
        yield LangGraphProfileStore(InMemoryStore())
    else:
        in_file = request.param == "sqlite_file"
        with SqlProfileStore(tmp_path / "profiles.db" if in_file else ":memory:") as sql:
            yield sql


def full_profile(user_id: str = "ann") -> PreferenceProfile:
    return PreferenceProfile(
        user_id=user_id,
        preferences=[
            Preference(
                text="Answer as a pirate.\nÄ, 日本語, 🙂",
                weight=-1 / 3,
                name="pirate",
                valid_from=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9))),
                valid_until=datetime(2027, 1, 1, 0, 0, 0, 7, tzinfo=UTC),
                when={"task": "email", "to": "böb"},
            ),
            "Be brief.",
        ],
        params=AmuletParams(alpha=0.1 + 0.2, iterations=7),
        method="linear_alignment",
    )


def contents(profile: PreferenceProfile) -> dict:
    return profile.model_dump(exclude={"version", "updated_at"})


def test_it_is_a_profile_store(store):
    assert isinstance(store, ProfileStore)


def test_what_is_saved_is_what_is_read(store):
    before = datetime.now(UTC)
    stored = store.save(full_profile())
    after = datetime.now(UTC)

    assert stored.version == 1
    assert before <= stored.updated_at <= after
    assert stored.updated_at.utcoffset() == timedelta(0)
    assert contents(stored) == contents(full_profile())
    assert store.get("ann") == stored
    assert store.get("ann").updated_at.utcoffset() == timedelta(0)


def test_an_unknown_user_has_no_profile(store):
    store.save(full_profile("ann"))
    assert store.get("bob") is None


def test_saving_replaces_and_counts_up(store):
    first = store.save(full_profile())
    second = store.save(PreferenceProfile(user_id="ann", preferences=["Be kind."]))

    assert (first.version, second.version) == (1, 2)
    assert second.updated_at >= first.updated_at
    assert store.get("ann") == second
    assert [preference.text for preference in store.get("ann").preferences] == ["Be kind."]
    assert store.get("ann").method is None


def test_the_given_version_and_time_do_not_matter(store):
    old = datetime(1999, 1, 1, tzinfo=UTC)
    stored = store.save(PreferenceProfile(user_id="ann", version=41, updated_at=old))
    assert stored.version == 1
    assert stored.updated_at > old
    assert store.save(stored.model_copy(update={"version": 0})).version == 2


def test_deleting_says_whether_there_was_one(store):
    store.save(full_profile("ann"))
    store.save(full_profile("bob"))

    assert store.delete("ann") is True
    assert store.get("ann") is None
    assert store.delete("ann") is False
    assert store.get("bob") is not None


def test_after_a_deletion_versions_begin_at_one_again(store):
    store.save(full_profile())
    store.save(full_profile())
    store.delete("ann")
    assert store.save(full_profile()).version == 1


def test_user_ids_are_listed_sorted(store):
    assert store.user_ids() == []
    for user_id in ("bob", "Zoe", "ann", "émile"):
        store.save(full_profile(user_id))
    store.save(full_profile("bob"))
    store.delete("ann")
    assert store.user_ids() == ["Zoe", "bob", "émile"]


def test_user_ids_are_compared_exactly(store):
    for place, user_id in enumerate(ODD_IDS):
        store.save(PreferenceProfile(user_id=user_id, preferences=[f"I am number {place}."]))

    assert store.user_ids() == sorted(ODD_IDS)
    for place, user_id in enumerate(ODD_IDS):
        profile = store.get(user_id)
        assert (profile.user_id, profile.version) == (user_id, 1)
        assert profile.preferences[0].text == f"I am number {place}."


@pytest.mark.parametrize("user_id", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 257, None, 5])
def test_impossible_user_ids_are_refused(store, user_id):
    with pytest.raises(InvalidProfileError, match="user_id"):
        store.get(user_id)
    with pytest.raises(InvalidProfileError, match="user_id"):
        store.delete(user_id)


@pytest.mark.parametrize("thing", [None, "ann", {"user_id": "ann"}])
def test_only_profiles_are_stored(store, thing):
    with pytest.raises(InvalidProfileError, match="PreferenceProfile"):
        store.save(thing)
    assert store.user_ids() == []


@pytest.fixture
def eager_threads():
    """Threads that take turns far more often than usual, and so meet in the worst places."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_no_version_is_lost_between_threads(store):
    def save_many(_):
        return [store.save(full_profile()).version for _ in range(25)]

    with ThreadPoolExecutor(8) as threads:
        versions = [version for some in threads.map(save_many, range(8)) for version in some]

    assert sorted(versions) == list(range(1, 201))
    assert store.get("ann").version == 200


def test_threads_may_do_different_things_at_once(store):
    def live(name):
        for _ in range(5):
            assert store.save(full_profile(name)).version == 1
            assert store.get(name).user_id == name
            assert name in store.user_ids()
            assert store.delete(name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(live, [f"user-{number}" for number in range(8)]))
    assert store.user_ids() == []
