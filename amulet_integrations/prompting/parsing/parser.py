"""Reads an answer while it is being written: text, thoughts and calls of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable

from amulet_integrations.prompting.parsing.call_regions import (
    LeadingRegion,
    MarkedRegion,
    Region,
    TaggedRegion,
)
from amulet_integrations.prompting.parsing.pieces import (
    Answer,
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
    fold,
)
from amulet_integrations.prompting.parsing.reasoning import Reasoning, Thoughts
from amulet_integrations.prompting.tools.formats import LlamaFormat, ToolFormat

__all__ = [
    "Answer",
    "AnswerParser",
    "CallPiece",
    "InvalidCallPiece",
    "Piece",
    "ReasoningPiece",
    "TextPiece",
    "fold",
]


class AnswerParser:
    """Takes the text of one answer in whatever pieces it comes, and tells what it is made of.

    It reads what unconstrained models write, too: other orders and spacing, JSON in fences, a
    closing marker that is missing at the end. What is meant as a call and cannot be made becomes
    an `InvalidCallPiece`; what only looked like one stays text. White space right before a call,
    or after the last one, is dropped.

    Args:
        tool_format: How the model writes calls; None where it has no tools, and all is text.
        tool_names: The tools that may be called.
        reasoning: Whether thoughts come first.
        calls_open_answer: Whether an answer that does not begin with a call has none, whatever it
            looks like further on.
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        tool_names: Iterable[str] = (),
        reasoning: Reasoning = "none",
        *,
        calls_open_answer: bool = False,
    ) -> None:
        self._format = tool_format
        self._names = tuple(tool_names)
        self._thoughts = Thoughts(reasoning)
        self._index = 0
        self._held = ""  # may be the beginning of a marker
        self._space = ""  # white space that a call may follow
        self._has_called = False
        self._has_begun = not calls_open_answer  # how it begins no longer matters
        self._region: Region | None = None
        if isinstance(tool_format, LlamaFormat):
            self._region = LeadingRegion(0, self._names, tool_format.python_tag)

    def push(self, text: str) -> list[Piece]:
        """Reads on.

        Args:
            text: Some more of the answer.

        Returns:
            What became clear by it.
        """
        pieces, answer = self._thoughts.push(text)
        return pieces + self._read(self._begin(answer))

    def flush(self) -> list[Piece]:
        """Ends the answer.

        Returns:
            All that was held back.
        """
        pieces, answer = self._thoughts.flush()
        pieces += self._read(self._begin(answer))
        pieces += self._end_region()
        held, self._held = self._held, ""
        pieces += self._as_text(held)
        if self._space and not self._has_called:
            pieces.append(TextPiece(self._space))
        self._space = ""
        return pieces

    def _begin(self, text: str) -> str:
        """Holds the beginning back until it is clear whether it opens a call."""
        if self._has_begun or self._format is None:
            return text
        begun = self._held + text
        opening, start = self._format.opening, begun.lstrip()
        if len(start) < len(opening) and opening.startswith(start):
            self._held = begun
            return ""
        self._held, self._has_begun = "", True
        if not start.startswith(opening):
            self._format = None
        return begun

    def _end_region(self) -> list[Piece]:
        """Ends a call that was begun, if any.

        What a broken call swallowed is read again, but from one opening marker to the next only:
        an answer made of broken calls takes no longer than others.
        """
        if self._region is None or self._format is None:
            return []
        self._region.flush()
        rest, self._region.rest = self._region.rest, ""
        pieces = self._read("")
        for part in re.split(f"(?={re.escape(self._format.opening)})", rest) if rest else ():
            pieces += self._read(part) + self._end_region()
        return pieces

    def _read(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        while text or self._region is not None:
            if self._region is None:
                more, text = self._read_text(text)
            else:
                more, text = self._read_region(self._region, text)
            pieces += more
            if not text and (self._region is None or not self._region.done):
                break
        return pieces

    def _read_region(self, region: Region, text: str) -> tuple[list[Piece], str]:
        """Reads on in a region; gives what it found and what comes after it."""
        at = 0
        while at < len(text) and not region.done:
            region.push(text[at])
            at += 1
        pieces = region.take_pieces()
        if pieces:
            self._space, self._has_called = "", True
        if region.done:
            self._index = region.index
            pieces += self._as_text(region.text)
            self._region = self._new_region() if region.reopened else None
        return pieces, (region.rest if region.done else "") + text[at:]

    def _read_text(self, text: str) -> tuple[list[Piece], str]:
        """Reads up to where calls open; gives the text so far and what comes after it."""
        opening = self._format.opening if self._format else ""
        text, self._held = self._held + text, ""
        if not opening:
            return self._as_text(text), ""
        before, found, after = text.partition(opening)
        if found:
            self._region = self._new_region()
        else:
            self._held = _beginning(text, opening)
            before = before.removesuffix(self._held)
        return self._as_text(before), after

    def _new_region(self) -> Region:
        opening = self._format.opening if self._format else ""
        closing = self._format.closing if self._format else ""
        kind = TaggedRegion if closing else MarkedRegion
        return kind(self._index, self._names, opening, closing)

    def _as_text(self, text: str) -> list[Piece]:
        if not text:
            return []
        if self._format is None:
            return [TextPiece(text)]
        text = self._space + text
        sure = text.rstrip()
        self._space = text[len(sure) :]
        return [TextPiece(sure)] if sure else []


def _beginning(text: str, marker: str) -> str:
    """The end of a text that may be the beginning of a marker."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return text[-length:]
    return ""
