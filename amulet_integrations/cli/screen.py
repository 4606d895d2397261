"""What reaches the screen: text made harmless, and plain output where nobody watches."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

# Control characters become visible signs, so that no text can steer a terminal; line feeds and
# tabs stay, carriage returns (which would write over the line) go. Lone surrogates cannot be
# written at all.
_HARMLESS = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    | {ord("\r"): None, 0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
    | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
)


def safe(text: str) -> str:
    """Text that a terminal shows and does not obey; escape sequences become visible."""
    return text.translate(_HARMLESS)


def one_line(text: object) -> str:
    """The same on one line."""
    return safe(" ".join(str(text).split()))


def number(value: float) -> str:
    """A guidance scale or a parameter, short: 3, 2.46, 143055."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - look only


def count(number: int, noun: str) -> str:
    """Such as "1 preference" or "2 preferences"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_terminal() -> bool:
    """Whether somebody watches the output on a terminal that can draw."""
    return sys.stdout.isatty() and not terminal().is_dumb_terminal


def terminal() -> Console:
    """The terminal. Strings given to it are never read as markup, emoji codes or the like."""
    return Console(markup=False, emoji=False, highlight=False, force_terminal=sys.stdout.isatty())


def error(message: object) -> None:
    """Says what went wrong, in one line on stderr."""
    typer.secho(f"Error: {one_line(message)}", err=True, fg=typer.colors.RED)


def notice(message: object) -> None:
    """Says what is worth knowing but no part of the output, in one line on stderr."""
    typer.secho(one_line(message), err=True, dim=True)
