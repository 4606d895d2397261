"""Finds stop strings while text arrives in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress


class StopStrings:
    """Passes text on until a stop string appears, however the text is cut into pieces.

    The result is that of reading one character at a time: the stop string that is complete first
    ends the text. Some of the text may be hidden, such as special tokens. It is never passed on,
    and only stop strings that contain a hidden text themselves are looked for in it.

    Args:
        stops: The stop strings, none of them empty.
        hidden: All texts that may come hidden.

    Attributes:
        found: The stop string that ended the text, or None.
    """

    def __init__(self, stops: Iterable[str], hidden: Iterable[str] = ()) -> None:
        stops, hidden = tuple(stops), tuple(filter(None, hidden))
        self._whole_stops = tuple(s for s in stops if any(text in s for text in hidden))
        self._shown_stops = tuple(s for s in stops if s not in self._whole_stops)
        self._held = ""
        self._shown = b""  # one byte for each character that is held: 0 if it is hidden
        self.found: str | None = None

    def push(self, text: str, *, hidden: bool = False) -> str:
        """Reads the next piece.

        Args:
            text: The piece.
            hidden: Whether it is not to be passed on.

        Returns:
            What certainly stands before any stop string, without what is hidden.
        """
        if self.found is not None:
            return ""
        self._held += text
        self._shown += (b"\0" if hidden else b"\1") * len(text)
        shown = "".join(compress(self._held, self._shown))
        everywhere = range(len(self._held) + 1)
        views = [(self._shown_stops, shown, [*compress(everywhere, self._shown), everywhere[-1]])]
        if self._whole_stops:
            views.append((self._whole_stops, self._held, list(everywhere)))
        matches = [
            (places[start + len(stop) - 1], places[start], stop)
            for stops, seen, places in views
            for stop in stops
            if (start := seen.find(stop)) >= 0
        ]
        if not matches:
            return self._take(
                min(_first_kept(stops, seen, places) for stops, seen, places in views)
            )
        _, start, self.found = min(matches)
        passed = self._take(start)
        self._held, self._shown = "", b""
        return passed

    def flush(self) -> str:
        """Returns the text that was held back, once no more text follows."""
        return self._take(len(self._held))

    def _take(self, end: int) -> str:
        """Removes the first characters that are held; returns those that are shown."""
        taken = "".join(compress(self._held[:end], self._shown))
        self._held, self._shown = self._held[end:], self._shown[end:]
        return taken


def _first_kept(stops: Iterable[str], seen: str, places: list[int]) -> int:
    """Where the longest beginning of a stop string at the end of a text stands; or the end."""
    return places[len(seen) - max((_overlap(seen, stop) for stop in stops), default=0)]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a prefix of `stop`, but not all of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
