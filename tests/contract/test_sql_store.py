"""What stores in a database promise beyond other stores, on every kind of database."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.errors import (
    InvalidProfileError,
    ProfileConflictError,
    ProfileStoreError,
)
from amulet_integrations.profiles import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.profiles.stores.base import UpdatingProfileStore
from amulet_integrations.profiles.stores.sql import queries

pytestmark = pytest.mark.usefixtures("shared_parents")

ANN = PreferenceProfile(
    user_id="ann",
    preferences=[Preference(text="Be brief. Ä 日本 🙂", name="length", when={"task": "email"})],
    params=AmuletParams(iterations=3),
    method="pref",
)
KINDS = ["sqlite_file", "sqlite_in_memory", "postgresql"]


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return tmp_path / "profiles.db" if request.param == "sqlite_file" else ":memory:"


@pytest.fixture
def store(place):
    with SqlProfileStore(place) as store:
        yield store


@pytest.fixture
def other(place):
    """Another store of the same database, where it can be shared."""
    if place == ":memory:":
        pytest.skip("a database in memory has one store")
    with SqlProfileStore(place) as store:
        yield store


def profile(*texts: str, user_id: str = "ann", **fields) -> PreferenceProfile:
    return PreferenceProfile(user_id=user_id, preferences=texts, **fields)


def add(text):
    return lambda before: before.model_copy(update={"preferences": [*before.preferences, text]})


def contents(one):
    return one.model_dump(exclude={"version", "updated_at"})


class TestConflicts:
    def test_it_is_a_store_that_updates(self, store):
        assert isinstance(store, UpdatingProfileStore)

    def test_a_profile_that_was_read_is_stored_over_that_version_only(self, store):
        first = store.save(profile("one"))
        second = store.save(first.model_copy(update={"preferences": ["two"]}))
        assert second.version == 2
        with pytest.raises(ProfileConflictError, match=r"'ann'.*version 1.*version 2 is stored"):
            store.save(first.model_copy(update={"preferences": ["three"]}))
        assert store.get("ann") == second
        assert [change.version for change in store.history("ann")] == [1, 2]

    def test_version_0_takes_the_place_of_whatever_is_there(self, store):
        store.save(profile("one"))
        assert store.save(profile("two")).version == 2

    def test_a_profile_that_was_deleted_meanwhile_is_a_conflict(self, store):
        first = store.save(profile("one"))
        store.delete("ann")
        with pytest.raises(ProfileConflictError, match="none is stored"):
            store.save(first)
        assert store.get("ann") is None

    def test_an_update_sees_what_others_stored_meanwhile(self, store, other):
        store.save(profile("one"))
        seen = []

        def slowly(before):
            seen.append(before.version)
            if len(seen) == 1:
                other.update("ann", add("two"))
            return add("three")(before)

        updated = store.update("ann", slowly)
        assert seen == [1, 2]
        assert [one.text for one in updated.preferences] == ["one", "two", "three"]
        assert (updated.version, other.get("ann")) == (3, updated)

    def test_the_function_of_an_update_may_use_the_store_itself(self, store):
        store.save(profile("organisation", user_id="org"))

        def copy(before):
            store.save(profile("noted", user_id="log"))
            return before.model_copy(update={"preferences": store.get("org").preferences})

        assert store.update("ann", copy).version == 1
        assert store.get("log").version == 1

    def test_an_update_of_nobody_begins_with_an_empty_profile(self, store):
        assert store.update("ann", add("one")).version == 1

    def test_an_update_that_leaves_it_stores_nothing(self, store):
        assert store.update("ann", lambda before: None).version == 0
        assert store.history("ann") == []

    def test_an_error_of_the_function_is_its_own_and_stores_nothing(self, store):
        with pytest.raises(KeyError):
            store.update("ann", lambda before: {}["no"])
        with pytest.raises(InvalidProfileError, match="'bob'"):
            store.update("ann", lambda before: profile(user_id="bob"))
        assert store.user_ids() == []

    def test_an_update_after_a_deletion_goes_on_counting(self, store):
        store.save(profile("one"))
        store.delete("ann")
        updated = store.update("ann", add("two"))
        assert (updated.version, len(updated.preferences)) == (3, 1)

    def test_no_update_of_many_threads_is_lost(self, store):
        def work(number):
            for step in range(5):
                store.update("ann", add(f"{number}.{step}"), by=f"thread {number}")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        texts = {one.text for one in store.get("ann").preferences}
        assert texts == {f"{number}.{step}" for number in range(8) for step in range(5)}
        changes = store.history("ann")
        assert [change.version for change in changes] == list(range(1, 41))
        assert [len(change.profile.preferences) for change in changes] == list(range(1, 41))


class TestParents:
    def test_a_circle_is_refused(self, store):
        store.save(profile(user_id="ann", parent="org"))
        store.save(profile(user_id="org", parent="all"))
        with pytest.raises(InvalidProfileError, match="circle"):
            store.save(profile(user_id="all", parent="ann"))
        assert store.user_ids() == ["ann", "org"]

    def test_two_at_once_make_no_circle(self, store, other):
        for _ in range(5):
            for user_id in ("ann", "bob"):
                store.delete(user_id)
            gate = threading.Barrier(2)

            def save(one_store, user_id, parent, gate=gate):
                gate.wait()
                try:
                    one_store.save(profile(user_id=user_id, parent=parent))
                except InvalidProfileError:
                    return False
                return True

            with ThreadPoolExecutor(2) as threads:
                first = threads.submit(save, store, "ann", "bob")
                second = threads.submit(save, other, "bob", "ann")
            assert first.result() + second.result() == 1


class TestHistory:
    def test_every_change_is_kept_with_who_made_it(self, store):
        before = datetime.now(UTC)
        first = store.save(ANN, by="ann herself")
        second = store.update("ann", add("Be kind."), by="agent")
        store.delete("ann")
        restored = store.restore("ann", 1, by="admin")
        after = datetime.now(UTC)

        changes = store.history("ann")
        assert [(one.version, one.action, one.by) for one in changes] == [
            (1, "save", "ann herself"),
            (2, "save", "agent"),
            (3, "delete", None),
            (4, "restore", "admin"),
        ]
        assert [one.profile for one in changes] == [first, second, None, restored]
        assert all(before <= one.at <= after for one in changes)
        assert all(one.at.utcoffset() == timedelta(0) for one in changes)
        assert all(one.user_id == "ann" and one.problem is None for one in changes)

    def test_a_limit_gives_the_newest_ones_oldest_first(self, store):
        for number in range(5):
            store.save(profile(str(number)))
        assert [one.version for one in store.history("ann", limit=2)] == [4, 5]
        assert len(store.history("ann", limit=50)) == 5
        assert store.history("ann", version=4) == store.history("ann", limit=2)[:1]
        assert store.history("ann", version=9) == []
        with pytest.raises(InvalidProfileError, match="version=0"):
            store.history("ann", version=0)

    def test_a_limit_may_be_larger_than_anything(self, store):
        store.save(ANN)
        assert len(store.history("ann", limit=10**30)) == 1

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, "2"])
    def test_impossible_limits_are_refused(self, store, limit):
        with pytest.raises(InvalidProfileError, match="limit="):
            store.history("ann", limit=limit)

    def test_users_have_their_own(self, store):
        store.save(profile(user_id="ann"))
        store.save(profile(user_id="Ann"))
        assert [one.user_id for one in store.history("ann")] == ["ann"]
        assert store.history("nobody") == []

    @pytest.mark.parametrize("by", ["", "a\nb", "x" * 257, 5])
    def test_the_author_is_a_label(self, store, by):
        calls = [
            lambda: store.save(ANN, by=by),
            lambda: store.update("ann", add("one"), by=by),
            lambda: store.delete("ann", by=by),
            lambda: store.restore("ann", 1, by=by),
            lambda: store.import_json(store.export_json(), by=by),
        ]
        for call in calls:
            with pytest.raises(InvalidProfileError, match="by"):
                call()
        assert store.history("ann") == []

    def test_a_change_that_is_refused_leaves_no_entry(self, store):
        stored = store.save(ANN)
        store.save(ANN)
        with pytest.raises(ProfileConflictError):
            store.save(stored)
        assert store.delete("bob") is False
        assert (len(store.history("ann")), store.history("bob")) == (2, [])


class TestRestoring:
    def test_it_is_a_new_version_with_the_old_contents(self, store):
        store.save(ANN)
        store.save(profile("other"))
        restored = store.restore("ann", 1)
        assert restored.version == 3
        assert contents(restored) == contents(ANN)
        assert store.get("ann") == restored

    def test_it_works_after_a_deletion(self, store):
        store.save(ANN)
        store.delete("ann")
        assert contents(store.restore("ann", 1)) == contents(ANN)

    def test_a_deletion_and_what_never_was_are_refused_with_what_there_is(self, store):
        for _ in range(2):
            store.save(ANN)
        store.delete("ann")
        store.save(ANN)
        there = r"can be restored: 1-2, 4\."
        with pytest.raises(InvalidProfileError, match=rf"version=3.*is a deletion\. .*{there}"):
            store.restore("ann", 3)
        with pytest.raises(InvalidProfileError, match=rf"version=9.*does not exist\. .*{there}"):
            store.restore("ann", 9)
        with pytest.raises(InvalidProfileError, match="does not exist"):
            store.restore("ann", 10**30)
        with pytest.raises(InvalidProfileError, match="none to restore"):
            store.restore("bob", 1)
        assert [one.version for one in store.history("ann")] == [1, 2, 3, 4]

    @pytest.mark.parametrize("version", [0, -1, "1", None, True])
    def test_impossible_versions_are_refused(self, store, version):
        with pytest.raises(InvalidProfileError, match="version="):
            store.restore("ann", version)

    def test_parents_of_that_time_that_make_a_circle_today_are_refused(self, store):
        store.save(profile(user_id="ann", parent="org"))
        store.save(profile(user_id="ann"))
        store.save(profile(user_id="org", parent="ann"))
        with pytest.raises(InvalidProfileError, match="circle"):
            store.restore("ann", 1)


class TestErasing:
    def test_profile_and_history_are_gone_and_versions_begin_at_one(self, store):
        store.save(ANN)
        store.save(ANN)
        store.save(profile("stays", user_id="bob"))
        assert store.erase("ann") is True
        assert (store.get("ann"), store.history("ann")) == (None, [])
        assert store.erase("ann") is False
        assert store.save(ANN).version == 1
        assert len(store.history("bob")) == 1

    def test_a_history_without_a_profile_is_erased_too(self, store):
        store.save(ANN)
        store.delete("ann")
        assert store.erase("ann") is True
        assert store.history("ann") == []


class TestFiles:
    def test_what_is_exported_is_imported_exactly(self, store, tmp_path):
        store.save(ANN)
        store.save(profile("two", user_id="bob", parent="ann"))
        with SqlProfileStore(tmp_path / "copy.db") as copy:
            stored = copy.import_json(store.export_json(), by="mover")
            assert [one.user_id for one in stored] == ["ann", "bob"]
            assert [contents(one) for one in stored] == [
                contents(store.get("ann")),
                contents(store.get("bob")),
            ]
            (change,) = copy.history("ann")
            assert (change.action, change.by, change.profile) == ("import", "mover", stored[0])

    def test_an_import_is_a_new_version(self, store):
        text = (store.save(ANN), store.export_json())[1]
        store.save(profile("other"))
        (stored,) = store.import_json(text)
        assert stored.version == 3
        assert contents(stored) == contents(ANN)

    def test_nothing_is_stored_where_one_profile_is_refused(self, store):
        store.save(profile("here", user_id="org", parent="bob"))
        file = json.loads(store.export_json())
        file["profiles"] = [{"user_id": "ann"}, {"user_id": "bob", "parent": "org"}]
        with pytest.raises(InvalidProfileError, match="circle"):
            store.import_json(json.dumps(file))
        file["profiles"][1] = {"user_id": "bob", "preferences": [{"text": "x", "weight": 9}]}
        with pytest.raises(InvalidProfileError, match=r"profiles\[1\]\.preferences\[0\]\.weight"):
            store.import_json(json.dumps(file))
        assert store.user_ids() == ["org"]

    def test_many_are_stored_by_few_statements(self, store, monkeypatch):
        kept = store.save(profile("here", user_id="user 3"))
        store.delete(store.save(profile(user_id="user 5")).user_id)
        file = json.loads(store.export_json())
        file["profiles"] = [{"user_id": f"user {it}", "preferences": ["x"]} for it in range(7)]
        text, ran = json.dumps(file), []

        def note(*about):
            ran.append(about[2])

        event.listen(Engine, "before_cursor_execute", note)
        stored = store.import_json(text, by="me")
        event.remove(Engine, "before_cursor_execute", note)
        assert 0 < len(ran) < 10
        versions = [1, 1, 1, 2, 1, 3, 1]
        assert [one.version for one in stored] == versions
        monkeypatch.setattr(queries, "IDS_PER_QUERY", 3)
        again = store.import_json(text)
        assert [one.version for one in again] == [it + 1 for it in versions]
        for number, one in enumerate(again):
            assert one == store.get(f"user {number}")
            assert store.history(one.user_id)[-1].profile == one
            assert store.history(one.user_id)[-2].by == "me"
        assert store.history("user 3")[0].profile == kept
        file["profiles"] = []
        assert store.import_json(json.dumps(file)) == []

    def test_a_byte_order_mark_is_accepted(self, store):
        store.save(ANN)
        assert store.import_json("\ufeff" + store.export_json())[0].version == 2

    def test_parents_may_change_places(self, store):
        store.save(profile(user_id="bob", parent="ann"))
        file = json.loads(store.export_json())
        file["profiles"] = [{"user_id": "ann", "parent": "bob"}, {"user_id": "bob"}]
        store.import_json(json.dumps(file))
        assert (store.get("ann").parent, store.get("bob").parent) == ("bob", None)

    def test_the_history_is_exported_on_request_and_not_imported(self, store):
        store.save(ANN, by="ann")
        store.delete("ann")
        store.save(profile("bob's", user_id="bob"))
        file = json.loads(store.export_json(["ann"], history=True))
        assert file["profiles"] == []
        assert [one["action"] for one in file["history"]] == ["save", "delete"]
        assert file["history"][0]["profile"]["preferences"][0]["text"] == ANN.preferences[0].text
        everybody = store.export_json(history=True)
        assert [one["user_id"] for one in json.loads(everybody)["history"]] == ["ann", "ann", "bob"]
        assert [one.version for one in store.import_json(everybody)] == [2]
        assert len(store.history("ann")) == 2

    def test_exporting_a_user_without_a_profile_is_an_error(self, store):
        store.save(ANN)
        store.delete("ann")
        for user_id in ("ann", "nobody"):
            with pytest.raises(InvalidProfileError, match=f"user_id='{user_id}'"):
                store.export_json([user_id])


class TestAsync:
    async def test_every_form_does_what_its_method_does(self, store):
        stored = await store.asave(ANN, by="a")
        assert await store.aget("ann") == stored
        await store.aupdate("ann", add("more"), by="b")
        assert await store.auser_ids() == ["ann"]
        assert await store.adelete("ann", by="c") is True
        restored = await store.arestore("ann", 1, by="d")
        text = await store.aexport_json(["ann"], history=True)
        await store.aimport_json(text, by="e")
        changes = await store.ahistory("ann")
        assert [one.by for one in changes] == ["a", "b", "c", "d", "e"]
        assert contents(restored) == contents(ANN)
        assert (await store.ahistory("ann", limit=1))[0].version == 5
        assert await store.aerase("ann") is True
        assert await store.ahistory("ann") == []

    async def test_the_loop_is_free_while_the_database_is_busy(self, store):
        at_work, go_on = threading.Event(), threading.Event()

        def slowly(before):
            at_work.set()
            assert go_on.wait(20)
            return add("one")(before)

        update = asyncio.create_task(store.aupdate("ann", slowly))
        while not at_work.is_set():  # noqa: ASYNC110 - it is a thread that sets it
            await asyncio.sleep(0.001)
        assert await store.aget("ann") is None
        go_on.set()
        assert (await update).version == 1

    async def test_many_tasks_at_once_lose_nothing(self, store):
        await asyncio.gather(*(store.aupdate("ann", add(str(one))) for one in range(20)))
        assert (await store.aget("ann")).version == 20


class TestPlaces:
    def test_two_stores_of_one_database_are_at_one_place(self, store, other, place):
        assert store.place == other.place
        with SqlProfileStore(place, table_prefix="mine_") as mine:
            assert mine.place != store.place
        with pytest.raises(AttributeError):
            store.place = "elsewhere"

    def test_prefixes_keep_stores_apart(self, store, other, place):
        with SqlProfileStore(place, table_prefix="mine_") as mine:
            mine.save(ANN)
            store.save(profile("other", user_id="bob"))
            assert (mine.user_ids(), other.user_ids()) == (["ann"], ["bob"])

    def test_every_committed_change_is_published(self, store, monkeypatch):
        published = []
        monkeypatch.setattr(
            "amulet_integrations.profiles.stores.sql.sql_store.publish_change",
            lambda place, user_id: published.append((place, user_id)),
        )
        store.save(ANN)
        store.update("bob", add("one"))
        store.delete("ann")
        store.restore("ann", 1)
        text = store.export_json()
        store.import_json(text)
        store.erase("bob")
        users = ["ann", "bob", "ann", "ann", "ann", "bob", "bob"]
        assert published == [(store.place, user_id) for user_id in users]

    def test_a_closed_store_is_an_error(self, store):
        store.close()
        store.close()
        calls = [
            lambda: store.save(ANN),
            lambda: store.get("ann"),
            lambda: store.delete("ann"),
            store.user_ids,
            lambda: store.history("ann"),
            lambda: store.restore("ann", 1),
            lambda: store.erase("ann"),
            store.export_json,
            lambda: store.update("ann", add("one")),
        ]
        for call in calls:
            with pytest.raises(ProfileStoreError, match="closed"):
                call()
