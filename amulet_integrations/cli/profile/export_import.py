"""`amulet profile export` and `import`: profiles as JSON, and from what others have kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amulet_integrations.cli import terminal
from amulet_integrations.cli.loading import open_store
from amulet_integrations.cli.options import Json, Profiles, examples, option
from amulet_integrations.errors import ProfileError

from . import group
from .import_memories import Origin, format_import, import_from


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
    profiles: Profiles = None,
) -> None:
    """Write profiles as JSON, with the texts of the preferences."""
    with open_store(profiles) as store:
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
    epilog=examples(
        "amulet profile import profiles.json",
        "amulet profile import - < ann.json",
        "amulet profile import --from text ann.txt --user ann",
        "amulet profile import --from mem0 memories.json --dry-run",
        "amulet profile import --from langmem items.jsonl --namespace 'memories/{user_id}'",
    ),
)
def import_(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="What to import; - for standard input."),
    ],
    *,
    origin: Annotated[
        Origin,
        option(
            "NAME",
            "What wrote it: amulet (`export`), langmem (items of a LangGraph store), mem0 (what "
            "`get_all` returns) or text (one preference a line).",
            "--from",
        ),
    ] = "amulet",
    user: Annotated[
        str | None,
        option(
            "USER",
            "Only this user, who is also the user of what names nobody; of text, all of it.",
            "--user",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        option("PATH", "Where LangMem's memories are.", default="memories/{user_id}"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Memories that state no preference, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported and store nothing.")
    ] = False,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Store profiles from a file: all of it, or nothing where something in it is wrong.

    Those of an export each become a new version of their user's profile. From anything else,
    preferences are added, and those that have changed are changed; importing again changes nothing.
    Each memory that is not imported is listed with the reason.
    """
    if origin == "amulet" and (user or namespace or everything or dry_run or as_json):
        raise typer.BadParameter(
            "--user, --namespace, --all, --dry-run and --json go with --from langmem, mem0 or text."
        )
    try:
        text = file.read().decode("utf-8")
    except UnicodeDecodeError:
        name = getattr(file, "name", "standard input")
        raise ProfileError(f"{name!r} is not UTF-8 text, so it is no export.") from None
    with open_store(profiles) as store:
        if origin == "amulet":
            stored = store.import_json(text, by=group.operator())
            typer.echo(f"Imported {terminal.plural(len(stored), 'profile')}.")
            for profile in stored:
                group.tell_contradictions(profile)
            return
        report = import_from(
            store,
            origin,
            text,
            user=user,
            namespace=namespace,
            everything=everything,
            dry_run=dry_run,
            by=group.operator(),
        )
    group.print_result(report.as_json(), format_import(report), as_json=as_json)
