"""Profiles kept in a LangGraph store, beside whatever else a graph remembers."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import unquote

from langgraph.store.base import BaseStore, GetOp, Item

from amulet_integrations.errors import AmuletError, CorruptProfileError, ProfileStoreError
from amulet_integrations.langchain.agents.turns import Turns
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.store import check_profile, next_version

DEFAULT_NAMESPACE = ("users", "{user_id}", "preferences")
"""Where each user's profile is kept, unless another place is given."""

KEY = "profile"
"""The key of a profile in its user's namespace."""

T = TypeVar("T")
Request = tuple[str, tuple[Any, ...], dict[str, Any]]
Script = Generator[Request, Any, T]
"""A method told once, for both kinds of callers: it yields calls of the store, as name, arguments
and keyword arguments, and is sent what they return."""

_USER = "{user_id}"
_PAGE = 100
_TURNS = Turns()


class LangGraphProfileStore:
    """A `ProfileStore` in a LangGraph `BaseStore`, such as a graph's own.

        profiles = LangGraphProfileStore(InMemoryStore())
        profiles.save(PreferenceProfile(user_id="ann@example.com", preferences=["Be brief."]))

    Each method has an async form that uses the store's async methods: `asave`, `aget`, `adelete`
    and `auser_ids`.

    A `BaseStore` cannot compare and set. Within one process versions are counted without loss,
    from threads and event loops alike; of two *processes* that save the same user's profile at
    the same moment, one may overwrite the other, with the same version. Where that matters, use a
    `SqlProfileStore`. Profiles are kept out of the store's semantic index, so that no embedding
    model sees them; the store's own default for expiry applies to them.

    Args:
        store: The LangGraph store.
        namespace: The labels of a user's namespace; one of them holds ``{user_id}``. A user id
            may hold what labels may not (dots, as in e-mail addresses): such characters are
            written as ``%2E`` and the like.

    Raises:
        ProfileStoreError: `store` is no LangGraph store, or `namespace` cannot be one.
    """

    def __init__(self, store: BaseStore, namespace: Sequence[str] = DEFAULT_NAMESPACE) -> None:
        given = cast("object", store)
        if not isinstance(given, BaseStore):
            raise ProfileStoreError(
                f"store is a {type(given).__name__}; give a LangGraph BaseStore, such as "
                "langgraph.store.memory.InMemoryStore()."
            )
        self._store = given
        self._places = _Namespaces(namespace)

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Raises:
            ProfileStoreError: The store cannot be read and written.
        """
        check_profile(profile)
        with _TURNS.turn(self._turn(profile.user_id)):
            return self._run(self._saving(profile))

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """As `save`."""
        check_profile(profile)
        async with _TURNS.aturn(self._turn(profile.user_id)):
            return await self._arun(self._saving(profile))

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
        with _TURNS.turn(self._turn(checked_label("user_id", user_id))):
            return self._run(self._deleting(user_id))

    async def adelete(self, user_id: str) -> bool:
        """As `delete`."""
        async with _TURNS.aturn(self._turn(checked_label("user_id", user_id))):
            return await self._arun(self._deleting(user_id))

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The store cannot be read.
        """
        return self._run(self._listing())

    async def auser_ids(self) -> list[str]:
        """As `user_ids`."""
        return await self._arun(self._listing())

    def __repr__(self) -> str:
        return f"LangGraphProfileStore({type(self._store).__name__}, {self._places})"

    def _saving(self, profile: PreferenceProfile) -> Script[PreferenceProfile]:
        place = self._places.of(profile.user_id)
        earlier = yield "get", (place, KEY), {}
        stored = next_version(profile, _version_of(earlier))
        # Not indexed: an index hands the texts to an embedding model.
        yield "put", (place, KEY, stored.model_dump(mode="json")), {"index": False}
        return stored

    def _getting(self, user_id: str) -> Script[PreferenceProfile | None]:
        item = yield "get", (self._places.of(user_id), KEY), {}
        return None if item is None else self._read(item, user_id)

    def _deleting(self, user_id: str) -> Script[bool]:
        place = self._places.of(user_id)
        item = yield "get", (place, KEY), {}
        yield "delete", (place, KEY), {}
        return item is not None

    def _listing(self) -> Script[list[str]]:
        found: set[str] = set()
        offset = 0
        while True:
            page = yield "list_namespaces", (), {**self._places.search(offset), "limit": _PAGE}
            users = self._places.users_in(page)
            # Stores may list namespaces that nothing is in any more.
            asked = [GetOp(self._places.of(user), KEY, refresh_ttl=False) for user in users]
            items = (yield "batch", (asked,), {}) if asked else []
            found.update(user for user, item in zip(users, items, strict=True) if item is not None)
            if not page:
                return sorted(found)
            # By what came, since a store may give less at a time than it was asked for.
            offset += len(page)

    def _run(self, script: Script[T]) -> T:
        answer = None
        while True:
            try:
                name, arguments, options = script.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            try:
                answer = getattr(self._store, name)(*arguments, **options)
            except Exception as error:  # noqa: BLE001 - stores of others may raise anything
                self._fail(name, error)

    async def _arun(self, script: Script[T]) -> T:
        answer = None
        while True:
            try:
                name, arguments, options = script.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            try:
                answer = await getattr(self._store, f"a{name}")(*arguments, **options)
            except Exception as error:  # noqa: BLE001
                self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> NoReturn:
        if isinstance(error, AmuletError):
            raise error
        failure = ProfileStoreError(
            f"{type(self._store).__name__}.{name} failed with a {type(error).__name__}, so no "
            "profile could be read or written there. Check the LangGraph store."
        )
        # What a failed write raises may quote what was to be written.
        raise failure from (None if name == "put" else error)

    def _turn(self, user_id: str) -> tuple[int, tuple[str, ...]]:
        # The id of the store underneath: many adapters may stand before one store.
        return id(self._store), self._places.of(user_id)

    def _read(self, item: Item, user_id: str) -> PreferenceProfile:
        try:
            profile = PreferenceProfile.model_validate(item.value)
        except (AmuletError, TypeError, ValueError) as error:
            raise self._corrupt(user_id, str(error)) from error
        if profile.user_id != user_id:
            raise self._corrupt(user_id, f"it is of user {profile.user_id!r}")
        return profile

    def _corrupt(self, user_id: str, why: str) -> CorruptProfileError:
        return CorruptProfileError(
            f"What the {type(self._store).__name__} holds for user {user_id!r} is not a profile "
            f"({why}). Save a new profile over it, or delete it: store.delete({user_id!r})."
        )


def _version_of(item: Item | None) -> int:
    """The version of what is stored; 0 without anything, or where it is damaged."""
    version = item.value.get("version") if item and isinstance(item.value, dict) else None
    return version if isinstance(version, int) and version > 0 else 0


class _Namespaces:
    """Turns user ids into namespaces and back, one to one.

    Args:
        template: The labels, one of them with ``{user_id}`` in it.

    Raises:
        ProfileStoreError: They cannot be a namespace, or do not tell users apart.
    """

    def __init__(self, template: Sequence[str]) -> None:
        labels = () if isinstance(template, str) else tuple(template)
        if not all(isinstance(label, str) and _is_legal(label) for label in labels):
            raise ProfileStoreError(
                f"namespace={template!r}: give labels that are strings, not empty, and without "
                "dots and NUL characters."
            )
        if sum(label.count(_USER) for label in labels) != 1 or labels[0] == "langgraph":
            raise ProfileStoreError(
                f"namespace={template!r}: give a sequence of labels of which one holds {_USER} "
                f"and the first is not 'langgraph', such as {DEFAULT_NAMESPACE!r}."
            )
        self._labels = labels
        self._place = next(place for place, label in enumerate(labels) if _USER in label)
        self._start, _, self._end = labels[self._place].partition(_USER)

    def of(self, user_id: str) -> tuple[str, ...]:
        label = self._start + _written(user_id) + self._end
        return (*self._labels[: self._place], label, *self._labels[self._place + 1 :])

    def search(self, offset: int) -> dict[str, Any]:
        """Arguments of `list_namespaces` that find at least all of ours, in a fixed order."""
        before, after = self._labels[: self._place], self._labels[self._place + 1 :]
        return {"prefix": before or None, "suffix": after or None, "offset": offset}

    def users_in(self, namespaces: Iterable[Sequence[str]]) -> list[str]:
        """The users of those namespaces that are ours."""
        return [
            user
            for namespace in namespaces
            if len(namespace) == len(self._labels)
            and (user := self._read(namespace[self._place]))
            and self.of(user) == tuple(namespace)
        ]

    def _read(self, label: str) -> str:
        return unquote(label.removeprefix(self._start).removesuffix(self._end), errors="replace")

    def __repr__(self) -> str:
        return repr(self._labels)


def _is_legal(label: str) -> bool:
    return label != "" and "." not in label and "\x00" not in label


def _written(user_id: str) -> str:
    """A user id as (a part of) a label: `unquote` reads it again.

    Escaped are the percent sign itself, the dot, which labels may not hold, the star, which means
    any label in searches, and the one name that LangGraph keeps for itself.
    """
    if user_id == "langgraph":
        return "%6Canggraph"
    return re.sub("[%.*]", lambda found: f"%{ord(found[0]):02X}", user_id)
