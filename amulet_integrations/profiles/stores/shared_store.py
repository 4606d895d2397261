"""Copies of a store are the store; a pickle of one opens its database again."""

from __future__ import annotations

import pickle
from typing import Any, Self

from amulet_integrations.errors import AmuletError, ProfileStoreError


class SharedStore:
    """A store that copies share. Subclasses implement `__reduce__`, for pickles."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def not_picklable(store: object, why: str) -> ProfileStoreError:
    """The error for a store that no other process can open."""
    return ProfileStoreError(
        f"{store!r} cannot be pickled: {why}. Keep the profiles in a database and give its URL "
        'or path, such as profiles="profiles.db"; a pickle has the URL, and opens it again.'
    )


def check_picklable(store: object) -> None:
    """Checks that a pickle of a store can be opened.

    Raises:
        ProfileStoreError: It cannot.
    """
    try:
        pickle.dumps(store)
    except AmuletError:
        raise
    except Exception as error:  # whatever the objects of a foreign store raise
        raise not_picklable(store, str(error)) from error
