"""`amulet profile export` and `import`: profiles as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amulet_integrations.cli import terminal
from amulet_integrations.cli.loading import open_store
from amulet_integrations.cli.options import Database, examples, option
from amulet_integrations.errors import ProfileError

from . import group


@group.profile.command(
    "export",
    epilog=examples(
        "amulet profile export > profiles.json",
        "amulet profile export ann --history --output ann.json",
    ),
)
def export(
    users: Annotated[
        list[str] | None,
        typer.Argument(metavar="[USER]...", help="Whose profiles.", show_default="everybody's"),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="With every earlier version, for who asks for their data."),
    ] = False,
    output: Annotated[
        Path | None, option("FILE", "Where to write it.", default="standard output")
    ] = None,
    db: Database = None,
) -> None:
    """Write profiles as JSON, with the texts of the preferences."""
    with open_store(db) as store:
        text = store.export_json(users or None, history=history)
    if output is None:
        terminal.echo_json(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ProfileError(
            f"--output {str(output)!r} cannot be written: {error.strerror}."
        ) from None
    typer.echo(f"Exported to {terminal.one_line(output)}.")


@group.profile.command(
    "import",
    epilog=examples("amulet profile import profiles.json", "amulet profile import - < ann.json"),
)
def import_(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input."),
    ],
    db: Database = None,
) -> None:
    """Store the profiles of an export, each as a new version of its user's; all or none."""
    try:
        text = file.read().decode("utf-8")
    except UnicodeDecodeError:
        name = getattr(file, "name", "standard input")
        raise ProfileError(f"{name!r} is not UTF-8 text, so it is no export.") from None
    with open_store(db) as store:
        stored = store.import_json(text, by=group.operator())
    typer.echo(f"Imported {terminal.plural(len(stored), 'profile')}.")
