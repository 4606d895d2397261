"""A store in words, for messages about users who are not in it."""

from __future__ import annotations

import shlex
from typing import cast

from .base import ProfileStore
from .cached import CachedProfileStore
from .default_place import default_path, named_place

_OURS = __name__.partition(".")[0]


def describe_store(store: ProfileStore) -> str:
    """The place of a store: its database without a password, or the name of its class."""
    store = innermost_store(store)
    name = _database_name(store)
    if name is None:
        return f"the {type(store).__name__}"
    missing = "" if getattr(store, "exists", True) else ", which does not exist"
    return f"{name}{missing}"


def how_to_make_profile(store: ProfileStore, user_id: str, *, action: str = "set") -> str:
    """The command (`profile set` or `profile add`), or else the call, that stores a profile."""
    store = innermost_store(store)
    if _database_name(store) in {None, ":memory:"}:  # which no command reaches
        return f'store.save(PreferenceProfile(user_id={user_id!r}, preferences=["…"]))'
    return f"{profile_command(user_id, action=action)}{database_option(store)}"


def database_option(store: ProfileStore) -> str:
    """The option by which a command finds a database; "" for the default place."""
    name = _database_name(innermost_store(store))
    return "" if name in {None, _default_name()} else f" --profiles {shlex.quote(str(name))}"


def profile_command(user_id: str, *, action: str = "set") -> str:
    """The command (`profile set` or `profile add`) that stores a profile in the default place."""
    return f'amulet profile {action} {shlex.quote(user_id)} --preference "…"'


def innermost_store(store: ProfileStore) -> ProfileStore:
    """The store behind all caches."""
    while isinstance(store, CachedProfileStore):
        store = store.store
    return store


def _database_name(store: ProfileStore) -> str | None:
    # Other people's stores may call something else their name.
    if not type(store).__module__.startswith(f"{_OURS}."):
        return None
    return cast("str | None", getattr(store, "name", None))


def _default_name() -> str:
    return named_place() or str(default_path())
