"""The command `amulet`: chat, compare, and keep profiles. The only place that prints."""

from __future__ import annotations

import os
import sys

from . import interruption

__all__ = ["main"]

_NEEDED = {"typer", "rich"}

# How long torch's threads look for work before they sleep. Without it, two busy threads of other
# programs make decoding many times slower; see docs/performance.md.
_SPIN_COUNT = "10000"


def main() -> None:
    """Runs `amulet` with the arguments of the process, and exits."""
    if "OMP_WAIT_POLICY" not in os.environ:  # OpenMP reads this when torch is imported
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    try:
        interruption.handle()
        _run()
    except KeyboardInterrupt:  # a second one, while the command ended because of the first
        interruption.ignore()
        interruption.report()
        sys.exit(interruption.INTERRUPTED)
    finally:
        interruption.ignore()


def _run() -> None:
    try:
        from .app import app  # noqa: PLC0415 - only now is typer needed
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        from amulet_integrations.errors import MissingDependencyError  # noqa: PLC0415 - rarely

        sys.stderr.write(f"Error: {MissingDependencyError.for_extra(missing, 'cli')}\n")
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its code instead of a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="amulet")
