"""White space and characters that nobody sees, as signs that everybody sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from amulet_integrations.terminal_text import safe

NOTHING = "⋯"
"""Stands for a token that completes no character."""

_NAMED = {"\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}
_JOINERS = "\u200c\u200d"  # Persian and emoji need them between letters
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


class Run(NamedTuple):
    """A piece of a text.

    Attributes:
        text: The piece, without control characters.
        sign: What is shown in its place; "" where the text itself can be seen.
    """

    text: str
    sign: str = ""


def visible_runs(text: str) -> Iterator[Run]:
    """Splits a text into what can be seen and what needs a sign.

    A single space between words stays as it is; other white space, control characters and
    characters that steer the direction of writing get signs.
    """
    blank, seen, at = not text.strip(), "", 0
    while at < len(text):
        sign, end = _sign_at(text, at, blank)
        if not sign:
            seen += text[at:end]
        else:
            if seen:
                yield Run(safe(seen))
                seen = ""
            yield Run(safe(text[at:end]), sign)
        at = end
    if seen:
        yield Run(safe(seen))


def flat(text: str) -> str:
    """A text on one line, with signs for what is unseen."""
    return "".join(run.sign or run.text for run in visible_runs(text))


def label(text: str) -> str:
    """A text on one line, by itself: like `flat`, with dots for spaces at both ends."""
    shown = flat(text)
    inner = shown.strip(" ")
    if not inner:
        return "·" * len(shown) or NOTHING
    start = len(shown) - len(shown.lstrip(" "))
    marked = "·" * start + inner + "·" * (len(shown) - start - len(inner))
    # A mark that belongs to the letter before it would sit on whatever stands there.
    return f"◌{marked}" if unicodedata.category(marked[0]).startswith("M") else marked


def _sign_at(text: str, at: int, blank: bool) -> tuple[str, int]:
    """The sign for the character at a position, "" for none, and where the next piece begins."""
    here = text[at]
    if here == " ":
        end = at
        while end < len(text) and text[end] == " ":
            end += 1
        return ("·" * (end - at) if blank or end - at > 1 else ""), end
    if here in _NAMED:
        return _NAMED[here], at + 1
    kind = unicodedata.category(here)
    if kind == "Zs":
        return "␣", at + 1
    if kind not in _UNSEEN or (here in _JOINERS and text not in _JOINERS):
        return "", at + 1
    if here < " " or here == "\x7f":
        return safe(here), at + 1
    return f"⟨U+{ord(here):04X}⟩", at + 1
