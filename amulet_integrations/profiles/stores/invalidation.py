"""Tells the caches of this process which profiles were changed, through whichever object.

Two objects may lead to the same place: two stores of one database, two adapters of one LangGraph
store. Each writer publishes its changes under the name of the place, and each cache subscribes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import MethodType
from weakref import WeakMethod, ref

Subscriber = Callable[[str], None]
"""Is called with the id of the changed user, on the thread of the writer. It must not raise."""

_Reference = Callable[[], Subscriber | None]

_lock = Lock()
_subscribers: dict[str, tuple[_Reference, ...]] = {}


def publish_change(place: str, user_id: str) -> None:
    """Tells all subscribers of a place that a user's profile was changed there.

    Args:
        place: The name of the place: the attribute `place` of its stores.
        user_id: The user whose profile was changed.
    """
    for reference in _subscribers.get(place, ()):
        if (subscriber := reference()) is not None:
            subscriber(user_id)


def subscribe(place: str, subscriber: Subscriber) -> None:
    """Has a function called at every change at a place, as long as it lives.

    Args:
        place: The name of the place.
        subscriber: Is held weakly: a method as long as its object lives, a function as long as
            somebody else holds it.
    """
    is_method = isinstance(subscriber, MethodType)
    reference: _Reference = WeakMethod(subscriber) if is_method else ref(subscriber)
    with _lock:
        for known, references in list(_subscribers.items()):
            if len(living := tuple(it for it in references if it() is not None)) < len(references):
                _subscribers[known] = living
            if not living:
                del _subscribers[known]
        # Tuples are never changed, so `publish_change` needs no lock.
        _subscribers[place] = (*_subscribers.get(place, ()), reference)
