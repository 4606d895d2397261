"""A profile store in a LangGraph store, beside whatever else a graph remembers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import unquote

from langgraph.store.base import BaseStore, GetOp

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.stores.key_value import (
    KeyValueProfileStore,
    StoreCall,
    StoreSteps,
)

DEFAULT_NAMESPACE = ("users", "{user_id}", "preferences")
"""The namespace of each user's profile, unless another one is given."""

KEY = "profile"
"""The key of a profile in its user's namespace."""

_USER = "{user_id}"
_PAGE = 100


class LangGraphProfileStore(KeyValueProfileStore):
    """A `ProfileStore` in a LangGraph `BaseStore`, such as a graph's own.

        profiles = LangGraphProfileStore(InMemoryStore())
        profiles.save(PreferenceProfile(user_id="ann@example.com", preferences=["Be brief."]))

    Each method has an async form that uses the store's async methods: `asave`, `aget`, `adelete`,
    `auser_ids` and `aupdate`. No history is kept. After a deletion, versions begin at 1 again.

    A `BaseStore` cannot compare and set. Within one process, no change is lost and every stale
    version is refused, between threads, event loops and adapters of the same store object. If two
    *processes* (or two store objects) change the same user's profile at the same moment, one may
    overwrite the other, with the same version. If that matters, use a `SqlProfileStore`. If two
    profiles are made each other's parent at the same moment, both may be stored; the circle is
    refused when one of them is read with its parents.

    Profiles are not added to the store's semantic index, so that no embedding model sees them. The
    store's own default for expiry applies to them.

    Args:
        store: The LangGraph store.
        namespace: The labels of a user's namespace; one of them contains ``{user_id}``. Characters
            of a user id that labels must not contain (such as the dots of e-mail addresses) are
            written as ``%2E`` and the like.
        limits: What profiles must not exceed, and who may be a parent. The default is
            `ProfileLimits()`.

    Attributes:
        limits: The limits.
        place: The name under which changes are published to the caches of this process.

    Raises:
        ProfileStoreError: `store` is no LangGraph store, or `namespace` cannot be one.
    """

    def __init__(
        self,
        store: BaseStore,
        namespace: Sequence[str] = DEFAULT_NAMESPACE,
        *,
        limits: ProfileLimits | None = None,
    ) -> None:
        given = cast("object", store)
        if not isinstance(given, BaseStore):
            raise ProfileStoreError(
                f"store is a {type(given).__name__}; give a LangGraph BaseStore, such as "
                "langgraph.store.memory.InMemoryStore()."
            )
        self._places = _Namespaces(namespace)
        super().__init__(given, f"LangGraph store {id(given)} {self._places}", limits)

    def __repr__(self) -> str:
        return f"LangGraphProfileStore({type(self._store).__name__}, {self._places})"

    def _fetch(self, user_id: str) -> StoreSteps[Any]:
        item = yield StoreCall("get", (self._places.of(user_id), KEY), reads=True)
        return None if item is None else item.value

    def _put(self, user_id: str, document: dict[str, Any]) -> StoreSteps[None]:
        # Not indexed: an index passes the texts to an embedding model.
        yield StoreCall("put", (self._places.of(user_id), KEY, document), {"index": False})

    def _remove(self, user_id: str) -> StoreSteps[None]:
        yield StoreCall("delete", (self._places.of(user_id), KEY))

    def _list(self) -> StoreSteps[set[str]]:
        found: set[str] = set()
        offset = 0
        while True:
            options = {**self._places.search, "offset": offset, "limit": _PAGE}
            page = yield StoreCall("list_namespaces", (), options, reads=True)
            users = self._places.users_in(page)
            # Stores may list namespaces that are empty by now.
            gets = [GetOp(self._places.of(user), KEY, refresh_ttl=False) for user in users]
            items = (yield StoreCall("batch", (gets,), reads=True)) if gets else []
            found.update(user for user, item in zip(users, items, strict=True) if item is not None)
            if not page:
                return found
            # A store may return fewer namespaces than the limit.
            offset += len(page)


class _Namespaces:
    """Converts user ids to namespaces and back, one to one.

    Args:
        template: The labels, one of which contains ``{user_id}``.

    Raises:
        ProfileStoreError: They cannot be a namespace, or are the same for all users.
    """

    def __init__(self, template: Sequence[str]) -> None:
        labels = () if isinstance(template, str) else tuple(template)
        if not all(isinstance(it, str) and it and not {".", "\0"} & set(it) for it in labels):
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
        # Arguments with which `list_namespaces` finds at least all of our namespaces.
        before, after = labels[: self._place], labels[self._place + 1 :]
        self.search = {"prefix": before or None, "suffix": after or None}

    def of(self, user_id: str) -> tuple[str, ...]:
        # `unquote` reads it again. Labels must not contain dots, and a star means any label in
        # searches.
        escaped = re.sub("[%.*]", lambda found: f"%{ord(found[0]):02X}", user_id)
        label = self._start + escaped + self._end
        if label == "langgraph" and self._place == 0:
            label = "%6Canggraph"  # LangGraph reserves this first label
        return (*self._labels[: self._place], label, *self._labels[self._place + 1 :])

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
