"""Parts what a model thought from what it answers."""

from __future__ import annotations

from typing import Literal

from amulet_integrations.prompting.parsing.pieces import Piece, ReasoningPiece

THINK, END_OF_THOUGHTS = "<think>", "</think>"

Reasoning = Literal["none", "may open", "already open"]
"""Whether thoughts come before the answer: none, perhaps ``<think>…</think>``, or always, because
the prompt ends with ``<think>``."""

_NEWLINES = "\r\n"


class Thoughts:
    """Reads ``<think>…</think>`` at the beginning of an answer.

    Newlines just inside the tags and right after them belong to neither side.

    Args:
        reasoning: Whether thoughts come first.
    """

    def __init__(self, reasoning: Reasoning) -> None:
        self._where = {"none": "answer", "may open": "before", "already open": "before"}[reasoning]
        self._is_open = reasoning == "already open"
        self._is_first = True  # no thought has been read yet
        self._held = ""

    def push(self, text: str) -> tuple[list[Piece], str]:
        """Reads on.

        Args:
            text: Some more of the answer.

        Returns:
            Pieces of thoughts, and what belongs to the answer proper.
        """
        self._held += text
        pieces: list[Piece] = []
        if self._where == "before":
            self._look_for_beginning()
        if self._where == "thoughts":
            pieces = self._think()
        if self._where == "after":
            self._held = self._held.lstrip(_NEWLINES)
            self._where = "answer" if self._held else "after"
        if self._where != "answer":
            return pieces, ""
        answer, self._held = self._held, ""
        return pieces, answer

    def flush(self) -> tuple[list[Piece], str]:
        """Ends: thoughts that were not closed are thoughts all the same."""
        held, self._held = self._held, ""
        if self._where == "thoughts" or (self._where == "before" and self._is_open):
            return ([ReasoningPiece(held)] if held else []), ""
        return [], held

    def _look_for_beginning(self) -> None:
        start = self._held.lstrip()
        if start.startswith(THINK):
            self._where, self._held = "opened", start.removeprefix(THINK)
        elif not THINK.startswith(start):
            self._where = "opened" if self._is_open else "answer"
        if self._where == "opened":
            self._where = "thoughts"

    def _think(self) -> list[Piece]:
        if self._is_first:
            self._held = self._held.lstrip(_NEWLINES)
            self._is_first = not self._held
        thought, end, answer = self._held.partition(END_OF_THOUGHTS)
        if end:
            self._where, self._held = "after", answer
            thought = thought.rstrip(_NEWLINES)
        else:
            sure = _sure(thought)
            thought, self._held = thought[:sure], thought[sure:]
        return [ReasoningPiece(thought)] if thought else []


def _sure(thought: str) -> int:
    """Up to where a thought goes on for sure: not into an end tag, nor into newlines before it."""
    for length in range(min(len(thought), len(END_OF_THOUGHTS) - 1), 0, -1):
        if END_OF_THOUGHTS.startswith(thought[-length:]):
            thought = thought[:-length]
            break
    return len(thought.rstrip(_NEWLINES))
