"""Stores that others wrote: their results are checked, and missing methods are replaced."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SqlProfileStore,
)
from amulet_integrations.errors import InvalidProfileError, ProfileConflictError, ProfileStoreError
from amulet_integrations.profiles import CachedProfileStore, ProfileStore
from amulet_integrations.profiles.stores.access import (
    aread_profile,
    aread_whole_profile,
    aupdate_profile,
    read_profile,
    read_whole_profile,
    update_profile,
)
from amulet_integrations.profiles.stores.base import UpdatingProfileStore

pytestmark = pytest.mark.usefixtures("shared_parents")

PRIVATE = "I am recovering from an illness."
ANN = PreferenceProfile(user_id="ann", preferences=[PRIVATE])


class OfOthers:
    """A store of the four methods alone, and without any care for versions."""

    def __init__(self, *profiles: PreferenceProfile) -> None:
        self.profiles = {profile.user_id: profile for profile in profiles}
        self.threads: set[threading.Thread] = set()

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        self.profiles[profile.user_id] = profile
        return profile

    def get(self, user_id: str) -> PreferenceProfile | None:
        self.threads.add(threading.current_thread())
        found = self.profiles.get(user_id)
        time.sleep(0.0005)
        return found

    def delete(self, user_id: str) -> bool:
        return self.profiles.pop(user_id, None) is not None

    def user_ids(self) -> list[str]:
        return sorted(self.profiles)


class Answering(OfOthers):
    """Returns always the same, or raises it."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def get(self, user_id: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def noting(text: str) -> Any:
    return lambda it: it.model_copy(
        update={"preferences": (*it.preferences, Preference(text=text))}
    )


def texts(profile: PreferenceProfile | None) -> list[str]:
    return [preference.text for preference in profile.preferences] if profile else []


READS = {
    "read": read_profile,
    "aread": lambda *of: asyncio.run(aread_profile(*of)),
    "read whole": read_whole_profile,
    "aread whole": lambda *of: asyncio.run(aread_whole_profile(*of)),
}


@pytest.fixture(params=READS)
def read(request: pytest.FixtureRequest) -> Any:
    return READS[request.param]


def test_a_stored_profile_is_returned_or_none(read: Any) -> None:
    store = OfOthers(ANN)
    assert read(store, "ann") == ANN
    assert read(store, "bob") is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ANN.model_copy(update={"user_id": "bob"}), "another user's profile"),
        ({"user_id": "ann"}, "a dict"),
        (False, "a bool"),
    ],
)
def test_what_is_not_that_users_profile_is_refused(read: Any, answer: Any, message: str) -> None:
    with pytest.raises(ProfileStoreError, match=rf"Answering\.get returned {message} for user_id="):
        read(Answering(answer), "ann")


def test_the_errors_of_a_store_become_ours_and_ours_stay(read: Any) -> None:
    with pytest.raises(ProfileStoreError, match=r"Answering\.get failed: OSError"):
        read(Answering(OSError("disk")), "ann")
    with pytest.raises(ProfileConflictError, match="mine"):
        read(Answering(ProfileConflictError("mine")), "ann")


async def test_a_store_without_async_methods_is_called_on_a_thread() -> None:
    store = OfOthers(ANN)
    assert await aread_profile(store, "ann") == ANN
    await aupdate_profile(store, "ann", noting("Be kind."))
    assert threading.main_thread() not in store.threads


async def test_the_own_async_methods_of_a_store_are_used() -> None:
    class Native(OfOthers):
        async def aget(self, user_id: str) -> PreferenceProfile | None:
            return self.get(user_id)

        async def aupdate(self, user_id: str, function: Any) -> PreferenceProfile:
            return self.save(function(self.get(user_id)))

    store = Native(ANN)
    assert await aread_profile(store, "ann") == ANN
    assert texts(await aupdate_profile(store, "ann", noting("Be kind."))) == [PRIVATE, "Be kind."]
    assert store.threads == {threading.main_thread()}


def test_parents_add_theirs_and_a_circle_of_them_is_refused() -> None:
    own = ANN.model_copy(update={"parent": "team"})
    team = PreferenceProfile(user_id="team", preferences=["Be kind."], parent="ann")
    store = OfOthers(own)
    assert texts(read_whole_profile(store, "ann")) == [PRIVATE]
    store.save(team.model_copy(update={"parent": None}))
    for whole in (READS["read whole"](store, "ann"), READS["aread whole"](store, "ann")):
        assert texts(whole) == ["Be kind.", PRIVATE]
        assert whole.parent is None
    store.save(team)
    for name in ("read whole", "aread whole"):
        with pytest.raises(InvalidProfileError, match="circle"):
            READS[name](store, "ann")


@pytest.mark.parametrize("a", [False, True])
def test_changes_of_a_store_without_update_wait_for_each_other(a: bool) -> None:
    store = OfOthers()
    names = [f"I am {number}." for number in range(24)]

    def note(name: str) -> None:
        if a:
            asyncio.run(aupdate_profile(store, "ann", noting(name)))
        else:
            update_profile(store, "ann", noting(name))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(note, names))
    assert sorted(texts(store.get("ann"))) == sorted(names)


def test_an_update_of_a_store_without_update_keeps_the_rules_of_updates() -> None:
    store = OfOthers()
    assert update_profile(store, "ann", lambda _: None) == PreferenceProfile(user_id="ann")
    assert store.user_ids() == []
    with pytest.raises(InvalidProfileError, match="a profile of 'ann'"):
        update_profile(store, "bob", lambda _: ANN)
    assert store.user_ids() == []


class Failing(InMemoryProfileStore):
    """Asks for the change, and fails to store it with a quotation."""

    def update(self, user_id: str, function: Any) -> PreferenceProfile:
        raise ConnectionError(repr(texts(function(PreferenceProfile(user_id=user_id)))))


class FailingToSave(OfOthers):
    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        raise ConnectionError(repr(texts(profile)))


@pytest.mark.parametrize("store", [Failing(), FailingToSave(), CachedProfileStore(Failing())])
async def test_a_failed_change_quotes_no_text_and_the_functions_own_error_stays(
    store: ProfileStore,
) -> None:
    def update(function: Any) -> PreferenceProfile:
        return update_profile(store, "ann", function)

    async def aupdate(function: Any) -> PreferenceProfile:
        return await aupdate_profile(store, "ann", function)

    def fail(_: PreferenceProfile) -> PreferenceProfile:
        raise LookupError("mine")

    for call in (update, lambda function: asyncio.run(aupdate(function))):
        with pytest.raises(ProfileStoreError, match="failed: ConnectionError") as caught:
            await asyncio.to_thread(call, noting(PRIVATE))
        assert PRIVATE not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(LookupError, match="mine"):
            await asyncio.to_thread(call, fail)


def test_only_stores_with_a_history_receive_the_author() -> None:
    class Signed(InMemoryProfileStore):
        author: str | None = None

        def history(self, _: str) -> list[Any]:
            return [self.author]

        def update(
            self, user_id: str, function: Any, *, by: str | None = None
        ) -> PreferenceProfile:
            self.author = by
            return super().update(user_id, function)

    signed, plain = Signed(), InMemoryProfileStore()
    assert isinstance(plain, UpdatingProfileStore)
    for store in (signed, CachedProfileStore(signed), plain, CachedProfileStore(plain), OfOthers()):
        assert texts(update_profile(store, "ann", noting("Be kind."), by="me"))
    assert signed.author == "me"
    assert CachedProfileStore(signed).history("ann") == ["me"]
    with pytest.raises(AttributeError, match="history"):
        _ = CachedProfileStore(plain).history


@pytest.mark.parametrize("wrap", [lambda store: store, CachedProfileStore])
async def test_the_history_of_a_database_names_the_author(wrap: Any) -> None:
    with SqlProfileStore(":memory:") as database:
        store = wrap(database)
        update_profile(store, "ann", noting("Be kind."), by="remember_preference")
        await aupdate_profile(store, "ann", noting("Be brief."), by="somebody")
        authors = [change.by for change in database.history("ann")]
    assert authors == ["remember_preference", "somebody"]
