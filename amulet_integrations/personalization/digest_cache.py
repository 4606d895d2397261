"""What was found out about texts, kept by their digests: the texts themselves are not kept."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Generic, TypeVar

from amulet_integrations.concurrency.fork_safe import ForkSafeLock

T = TypeVar("T")


class DigestCache(Generic[T]):
    """Keeps the latest findings about texts. May be used from any thread.

    Args:
        most: Most findings that are kept; those that were asked for longest ago go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = ForkSafeLock()
        self._found: OrderedDict[bytes, T] = OrderedDict()

    def __reduce__(self) -> tuple[type[DigestCache[T]], tuple[int]]:
        # Another process finds out for itself.
        return DigestCache, (self._most,)

    def get(self, model: str, text: str) -> T | None:
        """What a model found out about a text; None where that is not kept."""
        key = _digest(model, text)
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key]

    def keep(self, model: str, text: str, found: T) -> None:
        """Keeps what a model found out about a text."""
        with self._lock:
            self._found[_digest(model, text)] = found
            if len(self._found) > self._most:
                self._found.popitem(last=False)


def _digest(model: str, text: str) -> bytes:
    return sha256(f"{model}\0{text}".encode(errors="surrogatepass")).digest()
