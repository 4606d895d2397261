"""Turns that users take one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition
from typing import NamedTuple

from amulet_integrations.deadline import SECONDS_BETWEEN_LOOKS

from .fork_safe import reset_in_child


class _Place(NamedTuple):
    """A place in the line; the smallest is the first."""

    taken_before: int
    round: int
    arrival: int


class UserTurns:
    """Turns that are taken one at a time, for work that must not be done by many at once.

    Users get one turn in each round, however many they wait for. So a user waits for no more turns
    than there are others who wait. All work for nobody in particular counts as that of one more
    user. In a forked child nobody has a turn.
    """

    _is_taken: bool
    _round: int  # of the latest turn

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
        with self._changed:
            place = self._join(user_id, taken_before)
            try:
                while self._is_taken or min(self._waiting) != place:
                    self._changed.wait(SECONDS_BETWEEN_LOOKS)
                    between()
            except BaseException:
                self._rounds[user_id] -= 1
                raise
            finally:
                self._leave(place)
            self._is_taken, self._round = True, max(self._round, place.round)
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
        self._waiting: dict[_Place, str | None] = {}  # with the users
        self._rounds: dict[str | None, int] = {}  # of each waiting user's last place
        self._round = 0
        self._is_taken = False

    def _join(self, user_id: str | None, taken_before: int) -> _Place:
        in_round = max(self._round, self._rounds.get(user_id, -1) + 1)
        place = _Place(taken_before, in_round, next(self._arrivals))
        self._rounds[user_id] = in_round
        self._waiting[place] = user_id
        return place

    def _leave(self, place: _Place) -> None:
        user_id = self._waiting.pop(place)
        if user_id not in self._waiting.values():
            del self._rounds[user_id]
