"""Stores over places of others, which keep documents under keys and know nothing of profiles."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn, TypeVar, cast

from amulet_integrations.errors import AmuletError, CorruptProfileError, ProfileStoreError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.inheritance import iter_ancestors
from amulet_integrations.profiles.limits import as_stored
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.base import Update
from amulet_integrations.profiles.stores.invalidation import announce
from amulet_integrations.profiles.stores.keyed_lock import Turns
from amulet_integrations.profiles.stores.versions import (
    Stamp,
    based_on,
    changed_profile,
    check_current,
    check_profile,
    next_version,
)

T = TypeVar("T")
Request = tuple[str, tuple[Any, ...], dict[str, Any]]
Script = Generator[Request, Any, T]
"""A method told once, for both kinds of callers: it yields calls of the place, as name, arguments
and keyword arguments, and is sent what they return."""

# One for all adapters: many of them may stand before one place.
_TURNS = Turns()

# Event loops hold their tasks weakly.
_UNWATCHED: set[asyncio.Task[Any]] = set()


class KeyValueProfileStore(ABC):
    """All of a store of profiles but the calls of the place that keeps them.

    The async forms call the place's methods whose names begin with "a", or its others on a thread
    where it does not implement those. Changes of one user's profile take turns within the process;
    one that has begun is made to its end, also where its task is cancelled. Each is announced to
    the caches of this process.

    Args:
        within: The place: an object with methods for threads and, with an "a" before their names,
            for event loops.
        place: Names it, and what of it is used, within this process.
    """

    def __init__(self, within: object, place: str) -> None:
        self._within = within
        self.place = place

    @abstractmethod
    def _fetching(self, user_id: str) -> Script[Any]:
        """Fetches a user's document; None where there is none."""

    @abstractmethod
    def _putting(self, user_id: str, document: dict[str, Any]) -> Script[None]:
        """Puts a user's document in the place of the earlier one."""

    @abstractmethod
    def _removing(self, user_id: str) -> Script[None]:
        """Removes a user's document, if there is one."""

    @abstractmethod
    def _listing(self) -> Script[set[str]]:
        """Lists the users who have a document."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Raises:
            ProfileStoreError: The store cannot be read and written.
            CorruptProfileError: What the store holds for one of the parents is not a profile.
        """
        return self._change(check_profile(profile).user_id, self._saving(profile))

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """As `save`."""
        return await self._achange(check_profile(profile).user_id, self._saving(profile))

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            CorruptProfileError: What the store holds for the user is not a profile.
            ProfileStoreError: The store cannot be read.
        """
        return self._run(self._getting(checked_label("user_id", user_id)))

    async def aget(self, user_id: str) -> PreferenceProfile | None:
        """As `get`."""
        return await self._arun(self._getting(checked_label("user_id", user_id)))

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none; see `ProfileStore.delete`.

        Raises:
            ProfileStoreError: The store cannot be written.
        """
        return self._change(checked_label("user_id", user_id), self._deleting(user_id))

    async def adelete(self, user_id: str) -> bool:
        """As `delete`."""
        return await self._achange(checked_label("user_id", user_id), self._deleting(user_id))

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The store cannot be read.
        """
        return sorted(self._run(self._listing()))

    async def auser_ids(self) -> list[str]:
        """As `user_ids`."""
        return sorted(await self._arun(self._listing()))

    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """Changes a profile; see `UpdatingProfileStore.update`.

        `function` is called once, while others of this process wait to change the same profile,
        so it must not change that one by itself.

        Raises:
            CorruptProfileError: What the store holds for the user is not a profile.
            ProfileStoreError: The store cannot be read and written.
        """
        return self._change(checked_label("user_id", user_id), self._updating(user_id, function))

    async def aupdate(self, user_id: str, function: Update) -> PreferenceProfile:
        """As `update`; `function` is called on the event loop."""
        return await self._achange(
            checked_label("user_id", user_id), self._updating(user_id, function)
        )

    def _saving(self, profile: PreferenceProfile) -> Script[PreferenceProfile]:
        document = yield from self._fetching(profile.user_id)
        check_current(profile.user_id, based_on(profile), _stamp_of(document))
        return (yield from self._storing(profile, document))

    def _getting(self, user_id: str) -> Script[PreferenceProfile | None]:
        document = yield from self._fetching(user_id)
        return None if document is None else self._read(document, user_id)

    def _deleting(self, user_id: str) -> Script[bool]:
        document = yield from self._fetching(user_id)
        yield from self._removing(user_id)
        return document is not None

    def _updating(self, user_id: str, function: Update) -> Script[PreferenceProfile]:
        document = yield from self._fetching(user_id)
        before = PreferenceProfile(user_id=user_id)
        if document is not None:
            before = self._read(document, user_id)
        changed = changed_profile(before, function)
        if changed is None:
            return before
        return (yield from self._storing(changed, document))

    def _storing(self, profile: PreferenceProfile, document: object) -> Script[PreferenceProfile]:
        """Stores a profile over a document (None: over nothing)."""
        earlier = document.get("parent") if isinstance(document, dict) else None
        if profile.parent != earlier:
            yield from self._checking_parents(profile)
        stored = next_version(profile, _stamp_of(document).version)
        yield from self._putting(profile.user_id, stored.model_dump(mode="json"))
        return stored

    def _checking_parents(self, profile: PreferenceProfile) -> Script[None]:
        steps, found = iter_ancestors(profile), None
        while True:
            try:
                parent = steps.send(found)
            except StopIteration:
                return
            found = yield from self._getting(parent)

    def _change(self, user_id: str, script: Script[T]) -> T:
        with _TURNS.turn((self.place, user_id)):
            try:
                return self._run(script)
            finally:
                announce(self.place, user_id)

    async def _achange(self, user_id: str, script: Script[T]) -> T:
        begun = False

        async def change() -> T:
            nonlocal begun
            async with _TURNS.aturn((self.place, user_id)):
                begun = True
                try:
                    return await self._arun(script)
                finally:
                    announce(self.place, user_id)

        task = asyncio.create_task(change())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # A place that writes on a thread would go on, and so must the turn.
            if not begun:
                task.cancel()
            _UNWATCHED.add(task)
            task.add_done_callback(_let_go)
            raise

    def _run(self, script: Script[T]) -> T:
        answer = None
        while True:
            try:
                name, arguments, options = script.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            try:
                answer = self._ask(name, *arguments, **options)
            except Exception as error:  # noqa: BLE001 - places of others may raise anything
                self._fail(name, error)

    async def _arun(self, script: Script[T]) -> T:
        answer = None
        while True:
            try:
                name, arguments, options = script.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            try:
                answer = await self._aask(name, *arguments, **options)
            except Exception as error:  # noqa: BLE001
                self._fail(name, error)

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._within, name)(*arguments, **options)

    async def _aask(self, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return await getattr(self._within, f"a{name}")(*arguments, **options)
        except NotImplementedError:
            # Some places are for threads alone, and refuse before they do anything.
            return await _on_thread(partial(self._ask, name, *arguments, **options))

    def _fail(self, name: str, error: Exception) -> NoReturn:
        if isinstance(error, AmuletError):
            raise error
        failure = ProfileStoreError(
            f"{type(self._within).__name__}.{name} failed with a {type(error).__name__}, so no "
            "profile could be read or written there. Check that store."
        )
        # What a failed write raises may quote what was to be written.
        raise failure from (None if name == "put" else error)

    def _read(self, document: object, user_id: str) -> PreferenceProfile:
        try:
            with as_stored():
                profile = PreferenceProfile.model_validate(document)
        except (AmuletError, TypeError, ValueError) as error:
            raise self._corrupt(user_id, str(error)) from error
        if profile.user_id != user_id:
            raise self._corrupt(user_id, f"it is of user {profile.user_id!r}")
        return profile

    def _corrupt(self, user_id: str, why: str) -> CorruptProfileError:
        return CorruptProfileError(
            f"What the {type(self._within).__name__} holds for user {user_id!r} is not a profile "
            f"({why}). Save a new profile over it, or delete it: store.delete({user_id!r})."
        )


def _let_go(task: asyncio.Task[Any]) -> None:
    _UNWATCHED.discard(task)
    if not task.cancelled():
        # Fetched, or asyncio would log it as lost: nobody waits for it any more.
        task.exception()


async def _on_thread(work: Callable[[], T]) -> T:
    """Runs work on a thread; who is cancelled meanwhile stays until the work is done."""
    # A future and no task: the end of a loop cancels every task, shielded or not.
    running = asyncio.get_running_loop().run_in_executor(None, partial(copy_context().run, work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _stamp_of(document: object) -> Stamp:
    """Which profile a document is; where it is damaged, as if there were none."""
    if not isinstance(document, dict):
        return Stamp(0)
    return Stamp.read(document.get("version"), document.get("updated_at"))
