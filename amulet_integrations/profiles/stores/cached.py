"""Profiles that were read a moment ago, kept in memory in front of a store."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.access import (
    aread_profile,
    async_form,
    aupdate_profile,
    read_profile,
    update_profile,
)
from amulet_integrations.profiles.stores.async_forms import AsyncForms
from amulet_integrations.profiles.stores.base import ProfileStore, Update
from amulet_integrations.profiles.stores.invalidation import listen


class _Entry(NamedTuple):
    profile: PreferenceProfile | None
    expires: float


class _Reading:
    """A read of the store that is under way; it began at a time, or others joined it later."""

    def __init__(self) -> None:
        self.began = time.monotonic()


class CachedProfileStore(AsyncForms):
    """A `ProfileStore` that remembers for a few seconds what another one holds.

        profiles = CachedProfileStore(SqlProfileStore("postgresql://..."), ttl=10.0)

    It also remembers who has no profile. Errors are not remembered. What is written through it is
    seen at once; so is what is written in this process through other objects, where the store
    announces its changes (`SqlProfileStore`, `LangGraphProfileStore` and `KVProfileStore` do).
    What other processes write is seen after `ttl` seconds at the latest. Whatever else a store
    can do, such as restoring or erasing, is done on `store` itself; one that does not announce its
    changes needs `forget` then.

    Args:
        store: The store.
        ttl: Seconds for which a profile is remembered, counted from when it was asked for; 0 asks
            the store every time.
        max_size: Most users to remember; those not asked for the longest are forgotten first.

    Attributes:
        store: The store.
        place: The name under which the store announces its changes; None where it does not.

    Raises:
        InvalidParamsError: `ttl` is no number of seconds, or `max_size` no number of users.
    """

    def __init__(self, store: ProfileStore, *, ttl: float = 10.0, max_size: int = 10_000) -> None:
        self.store = store
        self._ttl = checked_ttl(ttl)
        self._max_size = _checked_size(max_size)
        self._lock = Lock()
        # In the order in which they were asked for.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # A read whose entry here is gone, or another's, may have missed a write.
        self._readings: dict[str, _Reading] = {}
        self.place = getattr(store, "place", None)
        if isinstance(self.place, str):
            listen(self.place, self.forget)

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            ProfileError: The store fails, or what it holds is not a profile.
        """
        if (known := self._known(user_id)) is not None:
            return known.profile
        with self._reading(user_id) as reading:
            found = read_profile(self.store, user_id)
            self._remember(user_id, reading, found)
        return found

    async def aget(self, user_id: str) -> PreferenceProfile | None:
        """As `get`, by the store's own `aget`; what is remembered needs no thread."""
        if (known := self._known(user_id)) is not None:
            return known.profile
        with self._reading(user_id) as reading:
            found = await aread_profile(self.store, user_id)
            self._remember(user_id, reading, found)
        return found

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile; see `ProfileStore.save`."""
        with self._writing(getattr(profile, "user_id", None)):
            return self.store.save(profile)

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """As `save`."""
        if (asave := self._loop_form("asave")) is None:
            return await super().asave(profile)
        with self._writing(getattr(profile, "user_id", None)):
            stored: PreferenceProfile = await asave(profile)
        return stored

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none; see `ProfileStore.delete`."""
        with self._writing(user_id):
            return self.store.delete(user_id)

    async def adelete(self, user_id: str) -> bool:
        """As `delete`."""
        if (adelete := self._loop_form("adelete")) is None:
            return await super().adelete(user_id)
        with self._writing(user_id):
            deleted: bool = await adelete(user_id)
        return deleted

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point; always asks the store."""
        return self.store.user_ids()

    async def auser_ids(self) -> list[str]:
        """As `user_ids`."""
        if (auser_ids := async_form(self.store, "auser_ids")) is None:
            return await super().auser_ids()
        listed: list[str] = await auser_ids()
        return listed

    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """Changes the profile that the store holds; see `UpdatingProfileStore.update`.

        Args:
            user_id: Whose profile.
            function: The change.
            by: Who makes it, for stores that keep a history.
        """
        with self._writing(user_id):
            return update_profile(self.store, user_id, function, by=by)

    async def aupdate(
        self, user_id: str, function: Update, *, by: str | None = None
    ) -> PreferenceProfile:
        """As `update`; `function` may be called on a thread."""
        if self._loop_form("aupdate") is None:
            return await asyncio.to_thread(self.update, user_id, function, by=by)
        with self._writing(user_id):
            return await aupdate_profile(self.store, user_id, function, by=by)

    @property
    def history(self) -> Callable[..., Any]:
        """The `history` of the store; an AttributeError where it keeps none."""
        history: Callable[..., Any] = self.store.history  # type: ignore[attr-defined]
        return history

    def forget(self, user_id: str | None = None) -> None:
        """Has the store asked the next time; needed after writes that were not announced.

        Args:
            user_id: Whose profile; None for everybody's.
        """
        with self._lock:
            if user_id is None:
                self._entries.clear()
                self._readings.clear()
            else:
                self._entries.pop(user_id, None)
                self._readings.pop(user_id, None)

    def close(self) -> None:
        """Forgets everything, and closes the store where it can be closed."""
        self.forget()
        if (close := getattr(self.store, "close", None)) is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CachedProfileStore({self.store!r}, ttl={self._ttl:g}, max_size={self._max_size:,})"

    def _known(self, user_id: object) -> _Entry | None:
        # Ids that are remembered were checked when they came; others may be anything.
        if not isinstance(user_id, str):
            return None
        with self._lock:
            entry = self._entries.get(user_id)
            if entry is None or time.monotonic() >= entry.expires:
                return None
            self._entries.move_to_end(user_id)
            return entry

    @contextmanager
    def _reading(self, user_id: str) -> Iterator[_Reading]:
        checked_label("user_id", user_id)
        with self._lock:
            reading = self._readings.setdefault(user_id, _Reading())
        try:
            yield reading
        finally:
            with self._lock:
                if self._readings.get(user_id) is reading:
                    del self._readings[user_id]

    def _remember(self, user_id: str, reading: _Reading, found: PreferenceProfile | None) -> None:
        with self._lock:
            if self._ttl == 0 or self._readings.get(user_id) is not reading:
                return
            self._entries[user_id] = _Entry(found, reading.began + self._ttl)
            self._entries.move_to_end(user_id)
            if len(self._entries) > self._max_size:
                self._entries.popitem(last=False)

    @contextmanager
    def _writing(self, user_id: object) -> Iterator[None]:
        try:
            yield
        finally:
            # After a failure too: it may have been written, or others have, as in a conflict.
            if isinstance(user_id, str):
                self.forget(user_id)

    def _loop_form(self, name: str) -> Any:
        """The store's own async method of this name, unless all that it does is use a thread.

        A thread writes on where its task is cancelled, and what forgets has to be on it, too.
        """
        return None if isinstance(self.store, AsyncForms) else async_form(self.store, name)


def checked_ttl(ttl: float) -> float:
    """Checks seconds for which profiles are remembered.

    Raises:
        InvalidParamsError: It is not a number, or negative.
    """
    number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if number and not math.isnan(ttl) and ttl >= 0:
        return ttl
    raise InvalidParamsError(
        f"ttl={ttl!r}: give the seconds for which profiles are remembered, 0 for not at all."
    )


def _checked_size(max_size: int) -> int:
    if isinstance(max_size, int) and not isinstance(max_size, bool) and max_size > 0:
        return max_size
    raise InvalidParamsError(
        f"max_size={max_size!r}: give the number of users to remember, at least 1."
    )
