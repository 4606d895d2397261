"""Profiles in a LangGraph store, beside whatever else a graph keeps there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import unquote

from langgraph.store.base import BaseStore, GetOp

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.key_value import KeyValueProfileStore, Script

DEFAULT_NAMESPACE = ("users", "{user_id}", "preferences")
"""Where each user's profile is kept, unless another place is given."""

KEY = "profile"
"""The key of a profile in its user's namespace."""

_USER = "{user_id}"
_PAGE = 100


class LangGraphProfileStore(KeyValueProfileStore):
    """A `ProfileStore` in a LangGraph `BaseStore`, such as a graph's own.

        profiles = LangGraphProfileStore(InMemoryStore())
        profiles.save(PreferenceProfile(user_id="ann@example.com", preferences=["Be brief."]))

    Each method has an async form that uses the store's async methods: `asave`, `aget`, `adelete`,
    `auser_ids` and `aupdate`. No history is kept; after a deletion versions begin at 1 again.

    A `BaseStore` has no compare-and-set. Within one process no change is lost and every stale
    version is refused, across threads, event loops and adapters of the same store object. If two
    *processes* (or two store objects) change the same user's profile at the same moment, one may
    overwrite the other, with the same version. Where that matters, use a `SqlProfileStore`. If two
    profiles are made each other's parent at the same moment, both may be stored; the circle is
    refused when one of them is read with its parents.

    Profiles are kept out of the store's semantic index, so that no embedding model sees them; the
    store's own default for expiry applies to them.

    Args:
        store: The LangGraph store.
        namespace: The labels of a user's namespace; one of them contains ``{user_id}``.
            Characters of a user id that labels may not contain, such as the dots of e-mail
            addresses, are escaped as ``%2E`` and the like.

    Attributes:
        place: The name under which changes are announced to the caches of this process.

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
        self._places = _Namespaces(namespace)
        super().__init__(given, f"LangGraph store {id(given)} {self._places}")

    def __repr__(self) -> str:
        return f"LangGraphProfileStore({type(self._within).__name__}, {self._places})"

    def _fetching(self, user_id: str) -> Script[Any]:
        item = yield "get", (self._places.of(user_id), KEY), {}
        return None if item is None else item.value

    def _putting(self, user_id: str, document: dict[str, Any]) -> Script[None]:
        # Not indexed, because an index passes the texts to an embedding model.
        yield "put", (self._places.of(user_id), KEY, document), {"index": False}

    def _removing(self, user_id: str) -> Script[None]:
        yield "delete", (self._places.of(user_id), KEY), {}

    def _listing(self) -> Script[set[str]]:
        found: set[str] = set()
        offset = 0
        while True:
            page = yield "list_namespaces", (), {**self._places.search(offset), "limit": _PAGE}
            users = self._places.users_in(page)
            # Stores may list namespaces that are empty by now.
            asked = [GetOp(self._places.of(user), KEY, refresh_ttl=False) for user in users]
            items = (yield "batch", (asked,), {}) if asked else []
            found.update(user for user, item in zip(users, items, strict=True) if item is not None)
            if not page:
                return found
            # A store may return fewer namespaces than the limit.
            offset += len(page)


class _Namespaces:
    """Turns user ids into namespaces and back, one to one.

    Args:
        template: The labels, one of them with ``{user_id}`` in it.

    Raises:
        ProfileStoreError: They cannot be a namespace, or do not tell users apart.
    """

    def __init__(self, template: Sequence[str]) -> None:
        labels = () if isinstance(template, str) else tuple(template)
        if not all(isinstance(label, str) and _is_valid_label(label) for label in labels):
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
        label = self._start + _escape(user_id) + self._end
        if label == "langgraph" and self._place == 0:
            label = "%6Canggraph"  # LangGraph reserves this first label
        return (*self._labels[: self._place], label, *self._labels[self._place + 1 :])

    def search(self, offset: int) -> dict[str, Any]:
        """Arguments of `list_namespaces` that find all of ours, and maybe others."""
        before, after = self._labels[: self._place], self._labels[self._place + 1 :]
        return {"prefix": before or None, "suffix": after or None, "offset": offset}

    def users_in(self, namespaces: Iterable[Sequence[str]]) -> list[str]:
        """The users of those namespaces that are ours."""
        return [
            user
            for namespace in namespaces
            if len(namespace) == len(self._labels)
            and (user := self._unescape(namespace[self._place]))
            and self.of(user) == tuple(namespace)
        ]

    def _unescape(self, label: str) -> str:
        return unquote(label.removeprefix(self._start).removesuffix(self._end), errors="replace")

    def __repr__(self) -> str:
        return repr(self._labels)


def _is_valid_label(label: str) -> bool:
    return label != "" and "." not in label and "\x00" not in label


def _escape(user_id: str) -> str:
    """Escapes a user id for a label: the percent sign, the dot and the star (a wildcard)."""
    return re.sub("[%.*]", lambda found: f"%{ord(found[0]):02X}", user_id)
