"""What the commands print: text that steers no terminal, and plain text where nobody watches."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import typer
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from amulet_integrations.terminal_text import one_line as one_line  # noqa: PLC0414 - re-exported
from amulet_integrations.terminal_text import quoted_if_odd as quoted_if_odd  # noqa: PLC0414 - re-exported
from amulet_integrations.terminal_text import safe as safe  # noqa: PLC0414 - re-exported
from amulet_integrations.terminal_text import safe_json


def short_number(value: float) -> str:
    """A guidance scale or a parameter, short: 3, 2.46, 143055."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - look only


def plural(number: int, noun: str) -> str:
    """Such as "1 preference" or "2 preferences"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_interactive() -> bool:
    """Whether the output is a terminal that can draw."""
    return _is_terminal(sys.stdout) and not console().is_dumb_terminal


def console(*, stderr: bool = False) -> Console:
    """The terminal. Strings printed on it are never read as markup, emoji codes or the like."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=_is_terminal(stream),
    )


def _is_terminal(stream: TextIO | None) -> bool:
    # There is no stream where the shell has closed it: 2>&-
    return stream is not None and stream.isatty()


@contextmanager
def status(message: str) -> Iterator[Callable[[str], None]]:
    """Says on stderr what takes time, for as long as it is entered, where stderr is a terminal.

    Yields:
        Says something else in its place.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield lambda _: None
        return
    erase = Control((ControlType.ERASE_IN_LINE, 2))

    def show(text: str) -> None:
        screen.control(erase)
        line = Text(one_line(text), style="dim")
        screen.print(line, end="\r", no_wrap=True, overflow="ellipsis")

    show(message)
    try:
        yield show
    finally:
        screen.control(erase)


def echo_json(text: str) -> None:
    """Prints JSON that steers no terminal and holds the same values in every encoding."""
    shown = safe_json(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name != "utf-8":  # others cannot write everything
        shown = json.dumps(json.loads(shown), indent=2)
    typer.echo(shown)


def error(message: object) -> None:
    """Prints what went wrong, in one line on stderr."""
    typer.secho(f"Error: {one_line(message)}", err=True, fg=typer.colors.RED)


def say(message: object) -> None:
    """Prints one line of the output."""
    typer.echo(one_line(message))


def notice(message: object) -> None:
    """Prints what is worth knowing but is no part of the output, in one line on stderr."""
    typer.secho(one_line(message), err=True, dim=True)
