"""Turns that users take one at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from operator import attrgetter
from threading import Condition
from typing import NamedTuple

from .deadline import SECONDS_BETWEEN_LOOKS
from .fork_safe import reset_in_child


class _Place(NamedTuple):
    """A place in the line; of a user's places, the smallest is the first."""

    taken_before: int
    arrival: int


class UserTurns:
    """Turns that are taken one at a time, for work that must not be done by many at once.

    Whoever has had a turn goes behind all other users, however many turns they wait for. So a user
    waits for no more turns than there are others who wait. All work for nobody in particular counts
    as that of one more user. In a forked child nobody has a turn.
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
        place = _Place(taken_before, next(self._arrivals))
        with self._changed:
            self._waiting.setdefault(user_id, set()).add(place)
            try:
                while self._is_taken or self._first() != place:
                    self._changed.wait(SECONDS_BETWEEN_LOOKS)
                    between()
                self._waiting.move_to_end(user_id)
                self._is_taken = True
            finally:
                self._leave(user_id, place)
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
        self._waiting: OrderedDict[str | None, set[_Place]] = OrderedDict()
        self._is_taken = False

    def _first(self) -> _Place:
        """The place whose turn is next. Of equal ones it is that of the first user."""
        return min(map(min, self._waiting.values()), key=attrgetter("taken_before"))

    def _leave(self, user_id: str | None, place: _Place) -> None:
        places = self._waiting[user_id]
        places.remove(place)
        if not places:
            del self._waiting[user_id]
