"""A cache of profiles in front of a store."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar, cast

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.decoding.guidance import is_real_number
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.profile_limits import ProfileLimits, limits_of
from amulet_integrations.profiles.sync_async import async_form

from .access import aread_profile, aupdate_profile, read_profile, update_profile
from .base import ProfileStore, Update
from .invalidation import subscribe
from .shared_store import SharedStore, check_picklable

P = ParamSpec("P")
T = TypeVar("T")

Remember = Callable[[PreferenceProfile | None], PreferenceProfile | None]


class _Entry(NamedTuple):
    profile: PreferenceProfile | None
    expires: float


class _Read(NamedTuple):
    """A read of the store that is under way; later reads of the same user join it."""

    began: float


class CachedProfileStore(SharedStore):
    """A `ProfileStore` that remembers the profiles of another store for a few seconds.

        profiles = CachedProfileStore(SqlProfileStore("postgresql://..."), ttl=10.0)

    It also remembers which users have no profile. It does not remember errors. Changes that are
    made through it are seen at once. So are changes of this process that are made through other
    objects, if the store publishes its changes (`SqlProfileStore`, `LangGraphProfileStore` and
    `KVProfileStore` do). Changes of other processes are seen after `ttl` seconds at the latest.
    For what else a store can do, such as restoring or erasing, use `store` itself; if that one
    does not publish its changes, call `forget` then.

    Args:
        store: The store.
        ttl: Seconds for which a profile is remembered, from the beginning of the read. 0 reads
            the store every time.
        max_size: Most users to remember. The least recently used are forgotten first.

    Attributes:
        store: The store.
        place: The name under which the store publishes its changes; None if it does not.

    Raises:
        InvalidParamsError: `ttl` is no number of seconds, or `max_size` no number of users.
    """

    def __init__(self, store: ProfileStore, *, ttl: float = 10.0, max_size: int = 10_000) -> None:
        self.store = store
        self._ttl = checked_ttl(ttl)
        self._max_size = _checked_size(max_size)
        self._lock = ForkSafeLock()
        # Least recently used first.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # If a read is no longer here when it ends, it may have missed a write.
        self._reads: dict[str, _Read] = {}
        self.place: str | None = getattr(store, "place", None)
        subscribe(self)

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            ProfileError: The store fails, or contains something else than a profile.
        """
        if (known := self._known(user_id)) is not None:
            return known.profile
        with self._reading(user_id) as remember:
            return remember(read_profile(self.store, user_id))

    async def aget(self, user_id: str) -> PreferenceProfile | None:
        """The async form of `get`. A profile that is remembered needs no thread."""
        if (known := self._known(user_id)) is not None:
            return known.profile
        with self._reading(user_id) as remember:
            return remember(await aread_profile(self.store, user_id))

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile; see `ProfileStore.save`."""
        with self._writing(getattr(profile, "user_id", None)):
            return self.store.save(profile)

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """The async form of `save`."""
        return await self._awrite(getattr(profile, "user_id", None), self.save, profile)

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False if there was none; see `ProfileStore.delete`."""
        with self._writing(user_id):
            return self.store.delete(user_id)

    async def adelete(self, user_id: str) -> bool:
        """The async form of `delete`."""
        return await self._awrite(user_id, self.delete, user_id)

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point; always reads the store."""
        return self.store.user_ids()

    async def auser_ids(self) -> list[str]:
        """The async form of `user_ids`."""
        if (native := async_form(self.store, "user_ids")) is None:
            return await STORE_THREADS.start(self.user_ids, may_be_left=True)
        return cast("list[str]", await native())

    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """Changes the profile in the store; see `UpdatingProfileStore.update`.

        Args:
            user_id: The user.
            function: The change.
            by: Who makes it, for stores that keep a history.
        """
        with self._writing(user_id):
            return update_profile(self.store, user_id, function, by=by)

    async def aupdate(
        self, user_id: str, function: Update, *, by: str | None = None
    ) -> PreferenceProfile:
        """The async form of `update`. `function` may be called on a thread."""
        if async_form(self.store, "update") is None:
            work = partial(self.update, user_id, function, by=by)
            return await STORE_THREADS.start(work, user_id)
        with self._writing(user_id):
            return await aupdate_profile(self.store, user_id, function, by=by)

    @property
    def limits(self) -> ProfileLimits:
        """The limits of the store."""
        return limits_of(self.store)

    @property
    def history(self) -> Callable[..., Any]:
        """The `history` of the store; an AttributeError if it keeps none."""
        history: Callable[..., Any] = self.store.history  # type: ignore[attr-defined]
        return history

    def forget(self, user_id: str | None = None) -> None:
        """Forgets a profile, after a change that the store did not publish.

        Args:
            user_id: The user; None for all users.
        """
        with self._lock:
            if user_id is None:
                self._entries.clear()
                self._reads.clear()
            else:
                self._entries.pop(user_id, None)
                self._reads.pop(user_id, None)

    def close(self) -> None:
        """Forgets everything, and closes the store if it can be closed."""
        self.forget()
        if (close := getattr(self.store, "close", None)) is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[ProfileStore]]:
        check_picklable(self.store)
        return partial(type(self), ttl=self._ttl, max_size=self._max_size), (self.store,)

    def __repr__(self) -> str:
        return f"CachedProfileStore({self.store!r}, ttl={self._ttl:g}, max_size={self._max_size:,})"

    def _known(self, user_id: object) -> _Entry | None:
        # Only remembered ids are known to be valid.
        if not isinstance(user_id, str):
            return None
        with self._lock:
            entry = self._entries.get(user_id)
            if entry is None or time.monotonic() >= entry.expires:
                return None
            self._entries.move_to_end(user_id)
            return entry

    @contextmanager
    def _reading(self, user_id: str) -> Iterator[Remember]:
        """Registers a read; the function that it yields remembers what was read."""
        checked_label("user_id", user_id)
        with self._lock:
            read = self._reads.setdefault(user_id, _Read(time.monotonic()))

        def remember(found: PreferenceProfile | None) -> PreferenceProfile | None:
            with self._lock:
                if self._ttl > 0 and self._reads.get(user_id) is read:
                    self._entries[user_id] = _Entry(found, read.began + self._ttl)
                    self._entries.move_to_end(user_id)
                    if len(self._entries) > self._max_size:
                        self._entries.popitem(last=False)
            return found

        try:
            yield remember
        finally:
            with self._lock:
                if self._reads.get(user_id) is read:
                    del self._reads[user_id]

    @contextmanager
    def _writing(self, user_id: object) -> Iterator[None]:
        try:
            yield
        finally:
            # Also after an error: the change may be stored, or others may have made one.
            if isinstance(user_id, str):
                self.forget(user_id)

    async def _awrite(
        self, user_id: object, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs the async form of a method that only passes a call on to the store."""
        if (native := async_form(self.store, method.__name__)) is None:
            # If the task is cancelled, the thread goes on, and has to forget the user at its end.
            owner = user_id if isinstance(user_id, str) else None
            return await STORE_THREADS.start(partial(method, *args, **kwargs), owner)
        with self._writing(user_id):
            return cast("T", await native(*args, **kwargs))


def checked_ttl(ttl: float) -> float:
    """Checks the seconds for which profiles are remembered.

    Raises:
        InvalidParamsError: It is not a number, or negative.
    """
    if is_real_number(ttl) and ttl >= 0:
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
