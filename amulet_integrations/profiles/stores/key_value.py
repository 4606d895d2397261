"""Profile stores over the key-value stores of others, which know nothing of profiles."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.errors import AmuletError, CorruptProfileError
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    contradictions_to_tell,
    warn_of_found,
)
from amulet_integrations.profiles.field_types import checked_label, stored_texts_accepted
from amulet_integrations.profiles.inheritance import iter_ancestors
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.sync_async import arun_steps, run_steps

from .access import foreign_errors
from .base import Update
from .invalidation import publish_change
from .keyed_lock import KeyedLock
from .shared_store import SharedStore, not_picklable
from .versions import (
    Version,
    base_version,
    changed_profile,
    check_current,
    check_profile,
    next_version,
)

T = TypeVar("T")


class StoreCall(NamedTuple):
    """A call of the foreign store's method `name`; on event loops, of its async form.

    `reads` says that it changes nothing, so that nobody has to wait for its end.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    reads: bool = False


class ContradictionSearch(NamedTuple):
    """A search for contradictions in a profile, which takes too long for event loops."""

    profile: PreferenceProfile


StoreSteps = Generator[StoreCall | ContradictionSearch, Any, T]
"""An operation for threads and event loops alike: it yields calls, and is sent their results."""

# One lock for all adapters, since several of them may use the same foreign store.
_LOCK = KeyedLock()

# Cancelled changes that go on to their end; event loops hold tasks only weakly.
_UNFINISHED: set[asyncio.Task[Any]] = set()


class KeyValueProfileStore(SharedStore, ABC):
    """A profile store over a foreign key-value store; subclasses only make its calls.

    The async forms call the foreign store's methods whose names begin with "a", or its other
    methods on a thread if it does not implement those. Changes of one user's profile wait for
    each other within the process. A change that has begun is completed, even if its task is
    cancelled. Each change is published to the caches of this process.

    Args:
        store: The foreign store: an object with methods for threads and, with an "a" before their
            names, for event loops.
        place: A name, unique in this process, for the part of the foreign store that is used.
        limits: What profiles must not exceed, and who may be a parent. The default is
            `ProfileLimits()`.
    """

    def __init__(self, store: object, place: str, limits: ProfileLimits | None = None) -> None:
        self._store = store
        self.limits: ProfileLimits = ProfileLimits() if limits is None else limits
        self.place = place

    def __reduce__(self) -> NoReturn:
        raise not_picklable(
            self, f"nothing says how to open its {type(self._store).__name__} again"
        )

    @abstractmethod
    def _fetch(self, user_id: str) -> StoreSteps[Any]:
        """Fetches a user's document; None if there is none."""

    @abstractmethod
    def _put(self, user_id: str, document: dict[str, Any]) -> StoreSteps[None]:
        """Writes a user's document in place of the earlier one."""

    @abstractmethod
    def _remove(self, user_id: str) -> StoreSteps[None]:
        """Removes a user's document, if there is one."""

    @abstractmethod
    def _list(self) -> StoreSteps[set[str]]:
        """Lists the users who have a document."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Raises:
            ProfileStoreError: The store cannot be read and written.
            CorruptProfileError: The store contains something else than a profile for a parent.
        """
        return self._change(check_profile(profile).user_id, self._save_steps(profile))

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """The async form of `save`."""
        return await self._achange(check_profile(profile).user_id, self._save_steps(profile))

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            CorruptProfileError: The store contains something else than a profile for the user.
            ProfileStoreError: The store cannot be read.
        """
        return run_steps(self._get_steps(checked_label("user_id", user_id)), self._answer)

    async def aget(self, user_id: str) -> PreferenceProfile | None:
        """The async form of `get`."""
        steps = self._get_steps(checked_label("user_id", user_id))
        return await arun_steps(steps, partial(self._aanswer, user_id))

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False if there was none; see `ProfileStore.delete`.

        Raises:
            ProfileStoreError: The store cannot be written.
        """
        return self._change(checked_label("user_id", user_id), self._delete_steps(user_id))

    async def adelete(self, user_id: str) -> bool:
        """The async form of `delete`."""
        return await self._achange(checked_label("user_id", user_id), self._delete_steps(user_id))

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The store cannot be read.
        """
        return sorted(run_steps(self._list(), self._answer))

    async def auser_ids(self) -> list[str]:
        """The async form of `user_ids`."""
        return sorted(await arun_steps(self._list(), partial(self._aanswer, None)))

    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """Changes a profile; see `UpdatingProfileStore.update`.

        `function` is called once, while other changes of the same profile wait in this process.
        So it must not change that profile by itself.

        Raises:
            CorruptProfileError: The store contains something else than a profile for the user.
            ProfileStoreError: The store cannot be read and written.
        """
        checked_label("user_id", user_id)
        return self._change(user_id, self._update_steps(user_id, function))

    async def aupdate(self, user_id: str, function: Update) -> PreferenceProfile:
        """The async form of `update`. `function` is called on the event loop."""
        checked_label("user_id", user_id)
        return await self._achange(user_id, self._update_steps(user_id, function))

    def _save_steps(self, profile: PreferenceProfile) -> StoreSteps[PreferenceProfile]:
        document = yield from self._fetch(profile.user_id)
        check_current(profile.user_id, base_version(profile), _version_of(document))
        return (yield from self._put_steps(profile, document))

    def _get_steps(self, user_id: str) -> StoreSteps[PreferenceProfile | None]:
        document = yield from self._fetch(user_id)
        return None if document is None else self._read(document, user_id)

    def _delete_steps(self, user_id: str) -> StoreSteps[bool]:
        document = yield from self._fetch(user_id)
        yield from self._remove(user_id)
        return document is not None

    def _update_steps(self, user_id: str, function: Update) -> StoreSteps[PreferenceProfile]:
        document = yield from self._fetch(user_id)
        before = PreferenceProfile(user_id=user_id)
        if document is not None:
            before = self._read(document, user_id)
        changed = changed_profile(before, function)
        if changed is None:
            return before
        return (yield from self._put_steps(changed, document))

    def _put_steps(
        self, profile: PreferenceProfile, document: object
    ) -> StoreSteps[PreferenceProfile]:
        """Stores a profile over a document (None if there is none)."""
        earlier = document.get("parent") if isinstance(document, dict) else None
        self.limits.check_saved(profile, lambda: self._sound(document, profile.user_id))
        warn_of_found(profile, (yield ContradictionSearch(profile)))
        if profile.parent != earlier:
            yield from iter_ancestors(profile, self.limits, self._get_steps)
        stored = next_version(profile, _version_of(document).number)
        yield from self._put(profile.user_id, stored.model_dump(mode="json"))
        return stored

    def _change(self, user_id: str, steps: StoreSteps[T]) -> T:
        with _LOCK.hold((self.place, user_id)):
            try:
                return run_steps(steps, self._answer)
            finally:
                publish_change(self.place, user_id)

    async def _achange(self, user_id: str, steps: StoreSteps[T]) -> T:
        has_begun = False

        async def change() -> T:
            nonlocal has_begun
            async with _LOCK.ahold((self.place, user_id)):
                has_begun = True
                try:
                    return await arun_steps(steps, partial(self._aanswer, user_id))
                finally:
                    publish_change(self.place, user_id)

        task = asyncio.create_task(change())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # A store that writes on a thread would go on, and so the lock has to be held.
            if not has_begun:
                task.cancel()
            _UNFINISHED.add(task)
            task.add_done_callback(_finish)
            raise

    def _answer(self, call: StoreCall | ContradictionSearch) -> Any:
        if isinstance(call, ContradictionSearch):
            return contradictions_to_tell(call.profile)
        with foreign_errors(self._store, call.name):
            return self._call(call)

    async def _aanswer(self, user_id: str | None, call: StoreCall | ContradictionSearch) -> Any:
        if isinstance(call, ContradictionSearch):
            search = partial(contradictions_to_tell, call.profile)
            return await STORE_THREADS.start(search, user_id, may_be_left=True)
        with foreign_errors(self._store, call.name):
            return await self._acall(user_id, call)

    def _call(self, call: StoreCall) -> Any:
        return getattr(self._store, call.name)(*call.arguments, **call.options)

    async def _acall(self, user_id: str | None, call: StoreCall) -> Any:
        """Makes a call for a user: their share of the threads counts, also for a parent."""
        try:
            return await getattr(self._store, f"a{call.name}")(*call.arguments, **call.options)
        except NotImplementedError:
            # Some stores are for threads only, and refuse before they do anything.
            work = partial(self._call, call)
            if call.reads:
                return await STORE_THREADS.start(work, user_id, may_be_left=True)
            return await STORE_THREADS.finish(work, user_id)

    def _sound(self, document: object, user_id: str) -> PreferenceProfile | None:
        try:
            return self._read(document, user_id)
        except CorruptProfileError:
            return None

    def _read(self, document: object, user_id: str) -> PreferenceProfile:
        try:
            with stored_texts_accepted():
                profile = PreferenceProfile.model_validate(document)
        except (AmuletError, TypeError, ValueError) as error:
            problem = str(error)
        else:
            if profile.user_id == user_id:
                return profile
            problem = f"it is of user {profile.user_id!r}"
        raise CorruptProfileError(
            f"What the {type(self._store).__name__} holds for user {user_id!r} is not a profile "
            f"({problem}). Save a new profile over it, or delete it: store.delete({user_id!r})."
        )


def _finish(task: asyncio.Task[Any]) -> None:
    _UNFINISHED.discard(task)
    if not task.cancelled():
        # Nobody waits for the error any more; asyncio would log it as never retrieved.
        task.exception()


def _version_of(document: object) -> Version:
    """The version of a document; of a damaged one, the version of nothing stored."""
    if not isinstance(document, dict):
        return Version(0)
    return Version.read(document.get("version"), document.get("updated_at"))
