"""Turns that users take one at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition
from typing import NamedTuple

from .deadline import SECONDS_BETWEEN_LOOKS
from .fork_safe import reset_in_child
from .thread_groups import current_group
from .thread_shares import Owner


class _Place(NamedTuple):
    """A place in the line; of a user's places, the smallest is the first."""

    taken_before: int
    arrival: int


class UserTurns:
    """Turns that are taken one at a time, for work that must not be done by many at once.

    Whoever has had a turn goes behind all other users, however many turns they wait for. So a user
    waits for no more turns than there are others who wait. All work for nobody in particular counts
    as that of one more user. Groups of users (`thread_groups`) take turns in the same way, so that
    none gets more by naming many users. In a forked child nobody has a turn.
    """

    _is_taken: bool

    def __init__(self) -> None:
        self.reset()
        reset_in_child(self)

    @contextmanager
    def take(
        self, between: Callable[[], None], user_id: str | None = None, *, taken_before: int = 0
    ) -> Iterator[None]:
        """Holds a turn for the block.

        Args:
            between: Called while others have their turns, many times a second. It may raise an
                error, which gives the place in the line up.
            user_id: The user for whom the work is done; None for nobody in particular.
            taken_before: How many turns the same work has taken before. Work that has taken fewer
                goes first, so that short work does not wait for long work.
        """
        owner = Owner(user_id, current_group())
        place = _Place(taken_before, next(self._arrivals))
        with self._changed:
            self._waiting.setdefault(owner, set()).add(place)
            self._groups.setdefault(owner.group, place.arrival)
            try:
                while self._is_taken or self._first() != place:
                    self._changed.wait(SECONDS_BETWEEN_LOOKS)
                    between()
                self._waiting.move_to_end(owner)
                self._groups[owner.group] = next(self._arrivals)
                self._is_taken = True
            finally:
                self._leave(owner, place)
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def reset(self) -> None:
        """Begins anew, with nobody in the line."""
        self._changed = Condition()
        self._arrivals = count()
        self._waiting: OrderedDict[Owner, set[_Place]] = OrderedDict()
        self._groups: dict[str | None, int] = {}  # when each came, or had its last turn
        self._is_taken = False

    def _first(self) -> _Place:
        """The place whose turn is next. Of equal ones it is the first group's first user's."""
        firsts = ((min(places), self._groups[it.group]) for it, places in self._waiting.items())
        return min(firsts, key=lambda first: (first[0].taken_before, first[1]))[0]

    def _leave(self, owner: Owner, place: _Place) -> None:
        places = self._waiting[owner]
        places.remove(place)
        if not places:
            del self._waiting[owner]
            if all(it.group != owner.group for it in self._waiting):
                del self._groups[owner.group]
