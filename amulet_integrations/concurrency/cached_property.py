"""`functools.cached_property` as it is from Python 3.12 on: without a lock."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property  # noqa: TID251
else:
    T = TypeVar("T")

    class cached_property(functools.cached_property[T]):  # noqa: N801, TID251
        """A property that is computed once, or twice if two threads come at the same moment.

        Python 3.11 computes it under a lock of all objects of the class. They would wait for each
        other: calls of every model for one that is being loaded. In a forked child the lock would
        stay held.
        """

        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
            if instance is None:
                return self
            values = instance.__dict__
            if self.attrname not in values:
                values.setdefault(self.attrname, self.func(instance))
            return values[self.attrname]


__all__ = ["cached_property"]
