"""Profiles kept in a LlamaIndex key-value store, beside its documents and indexes."""

from __future__ import annotations

import re
from threading import Lock
from typing import Any, cast
from urllib.parse import unquote

from llama_index.core.storage.kvstore.types import BaseKVStore, MutableMappingKVStore

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.key_value import KeyValueProfileStore, Script

DEFAULT_COLLECTION = "amulet_profiles"
"""Where profiles are kept, unless another collection is named."""

# LlamaIndex's own store in memory takes no care of threads; each call of it is quick.
_MAPPINGS = Lock()
_OF_MAPPINGS = ("get", "put", "delete", "get_all")


class KVProfileStore(KeyValueProfileStore):
    """A `ProfileStore` in a LlamaIndex `BaseKVStore`: in memory, Redis, MongoDB and so on.

        profiles = KVProfileStore(SimpleKVStore())
        profiles.save(PreferenceProfile(user_id="ann@example.com", preferences=["Be brief."]))

    Each method has an async form that uses the store's async methods: `asave`, `aget`, `adelete`,
    `auser_ids` and `aupdate`. No history is kept; after a deletion versions begin at 1 again. A
    `SimpleKVStore` is written to a file only by its own `persist`.

    A `BaseKVStore` cannot compare and set. Within one process no change is lost and every stale
    version is refused, between threads, event loops and adapters of the same store object. Of two
    *processes* (or two store objects) that change the same user's profile at the same moment, one
    may overwrite the other, with the same version. Where that matters, use a `SqlProfileStore`.
    Two profiles that are made each other's parent at the same moment may both be stored; the
    circle is refused when one of them is read with its parents.

    The key of a profile is the user id, in which all but small ASCII letters, digits and hyphens
    are written as ``%2E`` and the like: it can be a file name, and tells ids apart where case is
    ignored. A capital letter so takes three characters and an emoji twelve; a store may refuse
    keys that are too long for it. `user_ids` reads the whole collection, since these stores list
    no keys.

    Args:
        store: The LlamaIndex store.
        collection: The collection that holds the profiles, and nothing else.

    Attributes:
        place: The name under which changes are announced to the caches of this process.

    Raises:
        ProfileStoreError: `store` is no LlamaIndex key-value store, or `collection` no name.
    """

    def __init__(self, store: BaseKVStore, *, collection: str = DEFAULT_COLLECTION) -> None:
        given, name = cast("object", store), cast("object", collection)
        if not isinstance(given, BaseKVStore):
            raise ProfileStoreError(
                f"store is a {type(given).__name__}; give a LlamaIndex BaseKVStore, such as "
                "llama_index.core.storage.kvstore.SimpleKVStore()."
            )
        if not isinstance(name, str) or not name.strip():
            raise ProfileStoreError(
                f"collection={name!r}: give the name of a collection, such as "
                f"{DEFAULT_COLLECTION!r}."
            )
        self._collection = name
        self._of_mapping = _is_plain_mapping(given)
        super().__init__(given, f"LlamaIndex store {id(given)} {name}")

    def __repr__(self) -> str:
        return f"KVProfileStore({type(self._within).__name__}, collection={self._collection!r})"

    def _fetching(self, user_id: str) -> Script[Any]:
        return (yield "get", (_key(user_id),), self._where)

    def _putting(self, user_id: str, document: dict[str, Any]) -> Script[None]:
        yield "put", (_key(user_id), document), self._where

    def _removing(self, user_id: str) -> Script[None]:
        yield "delete", (_key(user_id),), self._where

    def _listing(self) -> Script[set[str]]:
        documents = yield "get_all", (), self._where
        users = {key: unquote(key, errors="replace") for key in documents}
        return {user for key, user in users.items() if user and _key(user) == key}

    @property
    def _where(self) -> dict[str, Any]:
        return {"collection": self._collection}

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        if not self._of_mapping:
            return super()._ask(name, *arguments, **options)
        with _MAPPINGS:
            return super()._ask(name, *arguments, **options)

    async def _aask(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._of_mapping:
            # Its async methods wait for nothing either, and no lock is held across an await.
            return self._ask(name, *arguments, **options)
        return await super()._aask(name, *arguments, **options)


def _is_plain_mapping(store: BaseKVStore) -> bool:
    """Whether a store keeps its values in plain mappings, by LlamaIndex's own methods."""
    names = [*_OF_MAPPINGS, *(f"a{name}" for name in _OF_MAPPINGS)]
    return isinstance(store, MutableMappingKVStore) and all(
        getattr(type(store), name) is getattr(MutableMappingKVStore, name) for name in names
    )


def _key(user_id: str) -> str:
    """A user id as a key that every store takes: `unquote` reads it again."""
    return re.sub(rb"[^a-z0-9-]", lambda found: b"%%%02X" % found[0][0], user_id.encode()).decode()
