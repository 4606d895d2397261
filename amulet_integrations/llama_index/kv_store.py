"""A profile store in a LlamaIndex key-value store, beside its documents and indexes."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any, cast
from urllib.parse import unquote

from llama_index.core.storage.kvstore.types import BaseKVStore, MutableMappingKVStore

from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.stores.key_value import (
    KeyValueProfileStore,
    StoreCall,
    StoreSteps,
)

DEFAULT_COLLECTION = "amulet_profiles"
"""The collection of the profiles, unless another one is given."""

# LlamaIndex's own store in memory is not safe for threads; each call of it is quick.
_MAPPING_LOCK = ForkSafeLock()
_MAPPING_METHODS = ("get", "put", "delete", "get_all")


class KVProfileStore(KeyValueProfileStore):
    """A `ProfileStore` in a LlamaIndex `BaseKVStore`: in memory, Redis, MongoDB and so on.

        profiles = KVProfileStore(SimpleKVStore())
        profiles.save(PreferenceProfile(user_id="ann@example.com", preferences=["Be brief."]))

    Each method has an async form that uses the store's async methods: `asave`, `aget`, `adelete`,
    `auser_ids` and `aupdate`. No history is kept. After a deletion, versions begin at 1 again. A
    `SimpleKVStore` is written to a file only by its own `persist`.

    A `BaseKVStore` cannot compare and set. Within one process, no change is lost and every stale
    version is refused, between threads, event loops and adapters of the same store object. If two
    *processes* (or two store objects) change the same user's profile at the same moment, one may
    overwrite the other, with the same version. If that matters, use a `SqlProfileStore`. If two
    profiles are made each other's parent at the same moment, both may be stored; the circle is
    refused when one of them is read with its parents.

    The key of a profile is the user id. All characters but lower-case ASCII letters, digits and
    hyphens are written as ``%2E`` and the like, so that keys can be file names, and differ even
    where case is ignored. So a capital letter takes three characters, and an emoji takes twelve; a
    store may refuse keys that are too long for it. `user_ids` reads the whole collection, since
    these stores do not list keys.

    Args:
        store: The LlamaIndex store.
        collection: The collection of the profiles, which must contain nothing else.

        limits: What profiles must not exceed, and who may be a parent. The default is
            `ProfileLimits()`.

    Attributes:
        limits: The limits.
        place: The name under which changes are published to the caches of this process.

    Raises:
        ProfileStoreError: `store` is no LlamaIndex key-value store, or `collection` no name.
    """

    def __init__(
        self,
        store: BaseKVStore,
        *,
        collection: str = DEFAULT_COLLECTION,
        limits: ProfileLimits | None = None,
    ) -> None:
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
        self._options = {"collection": name}
        self._is_mapping = _is_plain_mapping(given)
        super().__init__(given, f"LlamaIndex store {id(given)} {name}", limits)

    def __repr__(self) -> str:
        return f"KVProfileStore({type(self._store).__name__}, collection={self._collection!r})"

    def _fetch(self, user_id: str) -> StoreSteps[Any]:
        return (yield StoreCall("get", (_key(user_id),), self._options, reads=True))

    def _put(self, user_id: str, document: dict[str, Any]) -> StoreSteps[None]:
        yield StoreCall("put", (_key(user_id), document), self._options)

    def _remove(self, user_id: str) -> StoreSteps[None]:
        yield StoreCall("delete", (_key(user_id),), self._options)

    def _list(self) -> StoreSteps[set[str]]:
        documents = yield StoreCall("get_all", (), self._options, reads=True)
        users = {key: unquote(key, errors="replace") for key in documents}
        return {user for key, user in users.items() if user and _key(user) == key}

    def _call(self, call: StoreCall) -> Any:
        with _MAPPING_LOCK if self._is_mapping else nullcontext():
            return super()._call(call)

    async def _acall(self, user_id: str | None, call: StoreCall) -> Any:
        # The async methods of a mapping do not wait either, and no lock is held across an await.
        return self._call(call) if self._is_mapping else await super()._acall(user_id, call)


def _is_plain_mapping(store: BaseKVStore) -> bool:
    """Whether a store keeps its values in plain mappings, with LlamaIndex's own methods."""
    names = [*_MAPPING_METHODS, *(f"a{name}" for name in _MAPPING_METHODS)]
    return isinstance(store, MutableMappingKVStore) and all(
        getattr(type(store), name) is getattr(MutableMappingKVStore, name) for name in names
    )


def _key(user_id: str) -> str:
    """Writes a user id as a key that every store accepts; `unquote` reads it again."""
    return re.sub(rb"[^a-z0-9-]", lambda found: b"%%%02X" % found[0][0], user_id.encode()).decode()
