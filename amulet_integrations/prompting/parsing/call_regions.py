"""The stretches of an answer in which calls stand, one class for each way of marking them.

A region reads character by character, so that what comes out does not depend on how the text was
cut. It may find that there is no call in it after all; then it is text.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection

from amulet_integrations.prompting.parsing.call_json import CallSequence
from amulet_integrations.prompting.parsing.pieces import InvalidCallPiece, Piece

_CUT_SHORT = "The call is cut short."


class Region(ABC):
    """A stretch of an answer.

    Args:
        index: The place in the answer of the first call that may stand here.
        names: The tools that there are.
        opening: The marker that it began with.
        closing: The marker that it ends with, if any.

    Attributes:
        index: The place of the next call.
        done: Whether it has ended.
        text: What is text after all, once it has ended.
        rest: What is to be read again, after the end.
        reopened: Whether it ended because the next one began.
    """

    def __init__(
        self, index: int, names: Collection[str], opening: str = "", closing: str = ""
    ) -> None:
        self.index = index
        self.done = False
        self.text = ""
        self.rest = ""
        self.reopened = False
        self._names = names
        self._opening = opening
        self._closing = closing
        self._lead = ""
        self._calls: CallSequence | None = None
        self._pieces: list[Piece] = []

    @abstractmethod
    def push(self, char: str) -> None:
        """Reads a character."""

    def flush(self) -> None:
        """Ends here, because the answer does."""
        if self._calls is not None:
            self._finish_calls(self._calls)
        elif self._lead.strip():
            self._end_as_text()
        else:
            self._refuse(self._lead, _CUT_SHORT)

    def take_pieces(self) -> list[Piece]:
        """What can be passed on and was not yet."""
        pieces, self._pieces = self._pieces, []
        return pieces + (self._calls.take_pieces() if self._calls and not self.done else [])

    def _begin_calls(self, char: str, name: str | None = None) -> CallSequence:
        self._calls = CallSequence(self.index, self._names, name)
        self._pieces += self._calls.push(char)
        return self._calls

    def _finish_calls(self, calls: CallSequence) -> None:
        """Ends with the calls; what broke off may have swallowed a marker, and all that follows."""
        whole = calls.text
        marker, at = self._first_marker(whole)
        if calls.cut_short and at >= 0:
            self.index = calls.index
            self._refuse(whole[:at], "The call is no JSON: it has no end.")
            after = at + len(marker) if marker == self._closing else at
            self.rest = whole[after:] + self.rest
            return
        self._pieces += calls.finish()
        self.index = calls.index
        self.done = True

    def _first_marker(self, text: str) -> tuple[str, int]:
        found = [
            (text.find(marker), marker)
            for marker in (self._opening, self._closing)
            if marker and marker in text
        ]
        at, marker = min(found, default=(-1, ""))
        return marker, at

    def _refuse(self, text: str, error: str) -> None:
        self._pieces.append(InvalidCallPiece(self.index, text.strip(), error))
        self.index += 1
        self.done = True

    def _end_as_text(self, rest: str = "") -> None:
        self.text, self.rest, self.done = self._opening + self._lead, rest, True


class TaggedRegion(Region):
    """Calls between an opening and a closing marker."""

    _LEAD = re.compile(r"\s*(?:`{1,3}|```[a-z]+\s*|```\s+)?")

    def __init__(
        self, index: int, names: Collection[str], opening: str = "", closing: str = ""
    ) -> None:
        super().__init__(index, names, opening, closing)
        self._held = ""  # may be the beginning of a marker
        self._is_prose = False

    def push(self, char: str) -> None:
        """Reads a character."""
        self._held += char
        while self._held and not self.done:
            outside = self._calls is None or self._calls.closed
            if outside and self._may_be_marker():
                return
            first, self._held = self._held[0], self._held[1:]
            self._read(first)

    def flush(self) -> None:
        """Ends here; the last closing marker may be missing."""
        if self._calls is None:
            self._lead += self._held
        elif self._held:
            held, self._held = self._held, ""
            # A marker that was begun is no fault of the call.
            if not self._closing.startswith(held):
                self._pieces += [piece for char in held for piece in self._calls.push(char)]
        super().flush()

    def _may_be_marker(self) -> bool:
        if self._held == self._closing:
            self._close()
        elif self._held == self._opening:
            self._close_for_the_next()
        return self.done or any(
            marker.startswith(self._held) for marker in (self._opening, self._closing)
        )

    def _close(self) -> None:
        if self._calls is None:
            self._refuse(self._lead, "The call is no JSON.")
        else:
            self._finish_calls(self._calls)

    def _close_for_the_next(self) -> None:
        self.reopened = True
        if self._calls is None:
            self._end_as_text()
        else:
            self._finish_calls(self._calls)

    def _read(self, char: str) -> None:
        if self._calls is not None:
            self._pieces += self._calls.push(char)
        elif char in "[{" and not self._is_prose:
            self._begin_calls(char)
        else:
            self._lead += char
            self._is_prose = self._is_prose or not self._LEAD.fullmatch(self._lead)


class MarkedRegion(Region):
    """Calls after a marker: a JSON list of them, or a tool's name and its arguments."""

    _NAME = re.compile(r"\s*([a-zA-Z0-9_.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*")
    _SO_FAR = re.compile(r"\s*[a-zA-Z0-9_.-]{0,64}(?:\[[A-Z_]{0,8}(?:\]\w*)?){0,2}\]?\s*")

    def push(self, char: str) -> None:
        """Reads a character."""
        if self._calls is not None:
            self._pieces += self._calls.push(char)
        elif char in "[{" and not self._lead.strip():
            self._begin_calls(char)
        elif char == "{" and (named := self._NAME.fullmatch(self._lead)):
            self._begin_calls(char, named.group(1))
        elif self._SO_FAR.fullmatch(self._lead + char):
            self._lead += char
        else:
            self._end_as_text(rest=char)
        if self._calls is not None and self._calls.closed:
            self._finish_calls(self._calls)

    def flush(self) -> None:
        """Ends here; a name without arguments is half a call."""
        if self._calls is None and self._lead.strip() in self._names:
            self._refuse(self._lead, _CUT_SHORT)
        else:
            super().flush()


class LeadingRegion(Region):
    """The start of an answer, which may be a call as bare JSON.

    Args:
        index: 0.
        names: The tools that there are.
        tag: A token that may stand before the call.
    """

    _LEAD = re.compile(r"\s*(?:`{0,3}|```[a-z]+\s*|```\s+)")
    _TAIL = re.compile(r"\s*`{0,3}")
    _FIRST_KEY = re.compile(r'\[?\s*\{\s*"([^"]*)"')
    _NO_KEY_YET = re.compile(r'\[?\s*(?:\{\s*(?:"[^"]*)?)?')
    _KEYS = frozenset({"name", "parameters", "arguments", "type", "function", "id"})
    _ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:')
    _NAME_ALONE = re.compile(
        r'\[?\s*\{\s*"name"\s*:\s*("[^"\\]*")\s*(?:,\s*(?:"[a-z]*"?\s*)?|\})?\s*\]?'
    )

    def __init__(self, index: int, names: Collection[str], tag: str) -> None:
        super().__init__(index, names)
        self._tag = tag
        self._tail: str | None = None
        self._key_is_read = False

    def push(self, char: str) -> None:
        """Reads a character."""
        if self._tail is not None:
            self._read_tail(self._tail + char)
        elif self._calls is not None:
            self._read_call(self._calls, char)
        elif char in "[{" and self._LEAD.fullmatch(self._untagged(self._lead)):
            self._begin_calls(char)
        elif self._may_lead(self._lead + char):
            self._lead += char
        else:
            self._end_as_text(rest=char)

    def flush(self) -> None:
        """Ends here."""
        if self._tail is not None:
            self.done = True
        elif self._calls is None:
            self._end_as_text()
        elif self._is_call(self._calls):
            self._finish_calls(self._calls)
        else:
            self._lead += self._calls.text
            self._pieces.clear()
            self._end_as_text()

    def take_pieces(self) -> list[Piece]:
        """What can be passed on: nothing before it is clear that this is a call."""
        sure = self.done or self._tail is not None or (self._calls and self._calls.streams)
        return super().take_pieces() if sure else []

    def _read_call(self, calls: CallSequence, char: str) -> None:
        self._pieces += calls.push(char)
        if not self._key_is_read and not self._NO_KEY_YET.fullmatch(calls.text):
            self._key_is_read = True
            key = self._FIRST_KEY.match(calls.text)
            if key is None or key.group(1) not in self._KEYS:
                self.flush()
        if not self.done and calls.closed:
            self.flush()
            if not self.text and "```" in self._lead:
                self.done, self._tail = False, ""

    def _read_tail(self, tail: str) -> None:
        """What closes the fence is no text."""
        if self._TAIL.fullmatch(tail):
            self._tail = tail
            self.done = tail.endswith("```")
        else:
            self.rest, self.done = tail, True

    def _is_call(self, calls: CallSequence) -> bool:
        if calls.streams:
            return True
        first = self._FIRST_KEY.match(calls.text)
        if first is None or first.group(1) not in self._KEYS:
            return False
        alone = self._NAME_ALONE.fullmatch(calls.text)
        named = alone is not None and json.loads(alone.group(1), strict=False) in self._names
        return named or self._ARGUMENTS.search(calls.text) is not None

    def _untagged(self, lead: str) -> str:
        return lead.lstrip().removeprefix(self._tag)

    def _may_lead(self, lead: str) -> bool:
        begun = self._tag.startswith(lead.lstrip())
        return begun or self._LEAD.fullmatch(self._untagged(lead)) is not None
