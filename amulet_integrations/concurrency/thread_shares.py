"""Who may take the next of a bounded number of threads."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Owner(NamedTuple):
    """For whom work is done.

    Attributes:
        user_id: The user; None for nobody in particular.
        group: The group of users; see `thread_groups`.
    """

    user_id: str | None
    group: str | None


class ThreadShares:
    """Counts the threads that users and groups have. The caller's lock guards it.

    Args:
        max_threads: How many there are.
        share: As in `FairThreads`.
        reserve: As in `FairThreads`.
    """

    def __init__(self, max_threads: int, share: int, reserve: int) -> None:
        self._max_threads = max_threads
        self._share = share
        self._reserve = reserve
        self._total = 0
        self._of_users: Counter[str] = Counter()
        self._of_groups: Counter[str] = Counter()

    @property
    def all_taken(self) -> bool:
        """Whether no thread is free."""
        return self._total >= self._max_threads

    def may_begin(self, owner: Owner) -> bool:
        """Whether a free thread may work for an owner."""
        user_id, group = owner
        if self._total < self._max_threads - self._reserve:
            return user_id is None or self._of_users[user_id] < self._share
        if group is not None and self._of_groups[group] >= self._share:
            return False
        return group is not None if user_id is None else not self._of_users[user_id]

    def count(self, owner: Owner, change: int) -> None:
        """Counts work that begins (1) or ends (-1)."""
        self._total += change
        for name, counts in zip(owner, (self._of_users, self._of_groups), strict=True):
            if name is not None:
                counts[name] += change
                if not counts[name]:
                    del counts[name]
