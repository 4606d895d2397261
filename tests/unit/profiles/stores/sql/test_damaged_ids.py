"""A user id that is damaged in the database hides no other user, and can be deleted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from amulet_integrations.errors import CorruptProfileError, InvalidProfileError
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore

ANN = PreferenceProfile(user_id="ann", preferences=["Be kind."])
BOB = PreferenceProfile(user_id="bob", preferences=["Be brief."])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "profiles.db"


@pytest.fixture
def store(path):
    with SqlProfileStore(path) as store:
        yield store


class TestDamagedIds:
    """A damaged id is listed in a form by which it can be deleted and erased."""

    @pytest.fixture(
        params=[
            ("CAST('bob' AS BLOB)", "bob"),
            ("'bob' || char(10)", "bob\n"),
            ("CAST(x'626fff' AS TEXT)", "bo\udcff"),
            ("x'626fff'", "bo\udcff"),
            ("' '", " "),
        ],
        ids=str,
    )
    def user_id(self, request, store, path):
        store.save(ANN)
        store.save(BOB)
        damaged, listed = request.param
        with closing(sqlite3.connect(path)) as connection, connection:
            for table in ("amulet_profiles", "amulet_profile_changes"):
                command = f"UPDATE {table} SET user_id = {damaged} WHERE user_id = 'bob'"  # noqa: S608
                assert connection.execute(command).rowcount == 1
        return listed

    def test_all_users_are_listed(self, store, user_id):
        assert store.user_ids() == sorted(["ann", user_id])
        with pytest.raises(CorruptProfileError, match="Delete it") as caught:
            store.export_json()
        assert f"store.delete({user_id!r})" in str(caught.value)
        store.delete(user_id)
        exported = json.loads(store.export_json(history=True))["history"]
        damaged = [one for one in exported if one["problem"]]
        assert "user_id" in damaged[0]["problem"]
        assert [one["user_id"] in {user_id, repr(user_id)} for one in damaged] == [True]

    def test_it_is_deleted_and_erased(self, store, user_id, path):
        assert store.delete(user_id) is True
        assert store.user_ids() == ["ann"]
        assert json.loads(store.export_json(history=True))["profiles"][0]["user_id"] == "ann"
        assert store.erase(user_id) is True
        with closing(sqlite3.connect(path)) as connection:
            command = "SELECT DISTINCT user_id FROM amulet_profile_changes"
            assert connection.execute(command).fetchall() == [("ann",)]
        for call in (store.delete, store.erase):
            if user_id != "bob":
                with pytest.raises(InvalidProfileError, match="user_id"):
                    call(user_id)
            else:
                assert call(user_id) is False

    @pytest.mark.parametrize("user_id", ["", 5, None, b"bob", ["bob"], "\ud800"])
    def test_what_no_row_can_hold_is_refused(self, store, user_id):
        for call in (store.delete, store.erase):
            with pytest.raises(InvalidProfileError, match="user_id"):
                call(user_id)
