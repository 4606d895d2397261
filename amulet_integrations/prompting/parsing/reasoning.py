"""Separates a model's thoughts from its answer."""

from __future__ import annotations

from typing import Literal

import regex

from amulet_integrations.prompting.parsing.pieces import Piece, ReasoningPiece

THINK, END_OF_THOUGHTS = "<think>", "</think>"

Reasoning = Literal["none", "may open", "already open"]
"""Whether thoughts come before the answer: "none"; "may open" if the answer may begin with
``<think>``; "already open" if the prompt itself ends with ``<think>``."""

_NEWLINES = "\r\n"
_BEGINNING = regex.compile(rf"\s*{THINK}")
_END = regex.compile(rf"[{_NEWLINES}]*{END_OF_THOUGHTS}")


class ReasoningParser:
    """Reads ``<think>…</think>`` at the beginning of an answer.

    Newlines just inside the tags, and right after the closing one, are dropped.

    Args:
        reasoning: Whether thoughts come first.
    """

    def __init__(self, reasoning: Reasoning) -> None:
        # "opened" and "closed" stand right behind a tag.
        self._state: Literal["before", "opened", "thoughts", "closed", "answer"] = (
            "answer" if reasoning == "none" else "before"
        )
        self._is_open = reasoning == "already open"
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
        if self._state == "opened" and self._skip_newlines():
            self._state = "thoughts"
        if self._state == "thoughts":
            pieces = self._read_thoughts()
        if self._state == "closed" and self._skip_newlines():
            self._state = "answer"
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
        found = _BEGINNING.match(self._held, partial=True)
        if found is None:
            self._state = "opened" if self._is_open else "answer"
        elif not found.partial:
            self._state, self._held = "opened", self._held[found.end() :]

    def _skip_newlines(self) -> bool:
        self._held = self._held.lstrip(_NEWLINES)
        return bool(self._held)

    def _read_thoughts(self) -> list[Piece]:
        found = _END.search(self._held, partial=True)
        end = found.start() if found else len(self._held)
        thought, self._held = self._held[:end], self._held[end:]
        if found and not found.partial:
            self._state, self._held = "closed", self._held.removeprefix(found.group())
        return [ReasoningPiece(thought)] if thought else []
