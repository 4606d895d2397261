"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from amulet_integrations.engine.model_source import EMBEDDED

_ANSWER = "The answer"
_MODEL = "The model"


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def help_if_alone(context: typer.Context) -> None:
    """Shows the help of a group that was called without a command."""
    if context.invoked_subcommand is None:
        context.get_help()


Model = Annotated[
    str,
    typer.Option(
        envvar="AMULET_MODEL",
        help=f"Hugging Face id, local folder, or '{EMBEDDED}' (SmolLM2-135M-Instruct).",
        rich_help_panel=_MODEL,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        help="The system message, which the preferences follow.",
        show_default="a neutral one",
        rich_help_panel=_ANSWER,
    ),
]
MaxTokens = Annotated[
    int, typer.Option(min=1, help="Most tokens of an answer.", rich_help_panel=_ANSWER)
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.0, help="0 takes the likeliest token; above 0 samples.", rich_help_panel=_ANSWER
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Makes sampling repeatable.",
        show_default="a fresh one",
        rich_help_panel=_ANSWER,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="AMULET_DB",
        metavar="PATH_OR_URL",
        help="Where profiles are kept: an SQLite file or a database URL.",
        show_default="profiles.db in your data folder",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)]
