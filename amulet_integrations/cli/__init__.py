"""The command `amulet`: chat, compare, and keep profiles. The only place that prints."""

from __future__ import annotations

import sys

from amulet_integrations.errors import MissingDependencyError

__all__ = ["main"]

_NEEDED = {"typer", "rich"}


def main() -> None:
    """Runs `amulet` with the arguments of the process, and exits."""
    try:
        from .app import app  # noqa: PLC0415 - only now is typer needed
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        sys.stderr.write(f"Error: {MissingDependencyError.for_extra(missing, 'cli')}\n")
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its code instead of a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="amulet")
