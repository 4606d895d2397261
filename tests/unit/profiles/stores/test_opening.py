"""From what users give as "the profiles" to a store; the databases have tests of their own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.profiles import (
    CachedProfileStore,
    InMemoryProfileStore,
    PreferenceProfile,
    SqlProfileStore,
    open_profile_store,
)


def test_a_database_is_read_anew_each_time_unless_a_time_is_given(tmp_path: Path) -> None:
    place = tmp_path / "profiles.db"
    for plain in (open_profile_store(place), open_profile_store(str(place), ttl=0)):
        assert isinstance(plain, SqlProfileStore)
        plain.close()
    cached = open_profile_store(f"sqlite:///{place}", ttl=7)
    assert isinstance(cached, CachedProfileStore)
    assert isinstance(cached.store, SqlProfileStore)
    assert "ttl=7" in repr(cached)
    cached.close()


def test_a_cache_of_a_database_sees_what_another_store_of_it_writes(tmp_path: Path) -> None:
    place = tmp_path / "profiles.db"
    cached = open_profile_store(place, ttl=60)
    assert isinstance(cached, CachedProfileStore)
    with cached, SqlProfileStore(place) as other:
        assert cached.get("ann") is None
        stored = other.save(PreferenceProfile(user_id="ann"))
        assert cached.get("ann") == stored
        other.delete("ann")
        assert cached.get("ann") is None


def test_a_store_is_left_as_it_is() -> None:
    store = InMemoryProfileStore()
    assert open_profile_store(store, ttl=7) is store


@pytest.mark.parametrize("ttl", [-1, math.nan, "10", None])
def test_what_is_no_time_is_refused_before_anything_is_opened(tmp_path: Path, ttl: Any) -> None:
    with pytest.raises(InvalidParamsError, match="ttl="):
        open_profile_store(tmp_path / "profiles.db", ttl=ttl)
    assert list(tmp_path.iterdir()) == []
