"""Tells the caches of this process that somebody has written, through whichever object.

Two objects may lead to one place: two stores of one database, two adapters of one LangGraph store.
Each writer announces what it changed under the name of the place, and each cache listens to it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import MethodType
from weakref import WeakMethod, ref

Listener = Callable[[str], None]
"""Is told whose profile was changed, on the thread that changed it. It must not raise."""

_Reference = Callable[[], Listener | None]

_lock = Lock()
_listeners: dict[str, tuple[_Reference, ...]] = {}


def announce(place: str, user_id: str) -> None:
    """Tells everybody who listens to a place that a user's profile was changed there.

    Args:
        place: The name of the place, as its stores have it in `place`.
        user_id: Whose profile.
    """
    for reference in _listeners.get(place, ()):
        if (listener := reference()) is not None:
            listener(user_id)


def listen(place: str, listener: Listener) -> None:
    """Has a listener told of every change at a place, as long as the listener lives.

    Args:
        place: The name of the place.
        listener: Is held weakly: a method as long as its object lives, a function as long as
            somebody else holds it.
    """
    is_method = isinstance(listener, MethodType)
    reference: _Reference = WeakMethod(listener) if is_method else ref(listener)
    with _lock:
        for known, references in list(_listeners.items()):
            if len(living := tuple(it for it in references if it() is not None)) < len(references):
                _listeners[known] = living
            if not living:
                del _listeners[known]
        # Tuples are never changed, so who announces needs no lock.
        _listeners[place] = (*_listeners.get(place, ()), reference)
