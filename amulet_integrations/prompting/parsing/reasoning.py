"""Separates a model's thoughts from its answer."""

from __future__ import annotations

from typing import Literal

from amulet_integrations.prompting.parsing.pieces import Piece, ReasoningPiece

THINK, END_OF_THOUGHTS = "<think>", "</think>"

Reasoning = Literal["none", "may open", "already open"]
"""Whether thoughts come before the answer: "none"; "may open" if the answer may begin with
``<think>``; "already open" if the prompt itself ends with ``<think>``."""

_NEWLINES = "\r\n"


class ReasoningParser:
    """Reads ``<think>…</think>`` at the beginning of an answer.

    Newlines just inside the tags, and right after the closing one, are dropped.

    Args:
        reasoning: Whether thoughts come first.
    """

    def __init__(self, reasoning: Reasoning) -> None:
        self._state: Literal["before", "thoughts", "after", "answer"] = (
            "answer" if reasoning == "none" else "before"
        )
        self._is_open = reasoning == "already open"
        self._is_first = True  # no thought has been read yet
        self._held = ""

    def push(self, text: str) -> tuple[list[Piece], str]:
        """Reads the next part of the answer.

        Args:
            text: The next part.

        Returns:
            Pieces of thoughts, and the text that belongs to the answer proper.
        """
        self._held += text
        pieces: list[Piece] = []
        if self._state == "before":
            self._look_for_beginning()
        if self._state == "thoughts":
            pieces = self._read_thoughts()
        if self._state == "after":
            self._held = self._held.lstrip(_NEWLINES)
            self._state = "answer" if self._held else "after"
        if self._state != "answer":
            return pieces, ""
        answer, self._held = self._held, ""
        return pieces, answer

    def flush(self) -> tuple[list[Piece], str]:
        """Ends the answer. Thoughts that were never closed are still thoughts."""
        held, self._held = self._held, ""
        if self._state == "thoughts" or (self._state == "before" and self._is_open):
            return ([ReasoningPiece(held)] if held else []), ""
        return [], held

    def _look_for_beginning(self) -> None:
        start = self._held.lstrip()
        if start.startswith(THINK):
            self._state, self._held = "thoughts", start.removeprefix(THINK)
        elif not THINK.startswith(start):
            self._state = "thoughts" if self._is_open else "answer"

    def _read_thoughts(self) -> list[Piece]:
        if self._is_first:
            self._held = self._held.lstrip(_NEWLINES)
            self._is_first = not self._held
        thought, end, answer = self._held.partition(END_OF_THOUGHTS)
        if end:
            self._state, self._held = "after", answer
            thought = thought.rstrip(_NEWLINES)
        else:
            # The end may be the beginning of the closing tag, or newlines before it.
            self._held = marker_beginning(thought, END_OF_THOUGHTS)
            thought = thought.removesuffix(self._held)
            newlines = thought[len(thought.rstrip(_NEWLINES)) :]
            thought, self._held = thought.removesuffix(newlines), newlines + self._held
        return [ReasoningPiece(thought)] if thought else []


def marker_beginning(text: str, marker: str) -> str:
    """The longest end of `text` with which `marker` may begin; "" if there is none."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return text[-length:]
    return ""
