"""The HTML pages that commands write: found out ahead whether they can be.

A file that is no such page is not replaced, so that a mistyped name costs nobody a file.
"""

from __future__ import annotations

from pathlib import Path

import typer

from amulet_integrations.files import check_place, may_replace, may_write_into

_BEGINNING = b"<!doctype html>"


def check_page(path: Path) -> None:
    """Refuses, before anything is computed, a file that cannot be written or is something else.

    Raises:
        typer.BadParameter: It is.
    """
    check_place(path, typer.BadParameter)
    folder = path.resolve().parent
    if not may_write_into(folder):
        raise typer.BadParameter(f"{folder} is no folder that you may write into.")
    if not may_replace(path, _BEGINNING):
        raise typer.BadParameter(f"{path} exists and is no HTML page; choose another name.")
