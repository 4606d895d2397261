"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from amulet_integrations.decoding import AmuletParams, check_guidance_scale
from amulet_integrations.engine.model_source import EMBEDDED

STRENGTH = (
    "Strength: updates of Amulet's game. 1, 2, 10, 60 give guidance scale 1.95, 2.46, 3.90, 5.65; "
    "small models ramble when it is strong."
)
METHODS = (
    "How preferences are applied: amulet, linear_alignment, pref (in the prompt) or base (not)."
)
_ANSWER = "The answer"
_MODEL = "The model"


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def flowing(text: str) -> str:
    """A help text whose paragraphs are as wide as the terminal, not as the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def amulet_params(iterations: int | None) -> AmuletParams | None:
    """Amulet's parameters with this many iterations; None leaves them to others.

    Raises:
        InvalidParamsError: The number is out of its range, or makes it too strong.
    """
    if iterations is None:
        return None
    params = AmuletParams(iterations=iterations)
    check_guidance_scale(params.guidance_scale, source=f"--iterations {iterations}")
    return params


def help_if_alone(context: typer.Context) -> None:
    """Shows the help of a group that was called without a command."""
    if context.invoked_subcommand is None:
        context.get_help()


Model = Annotated[
    str,
    typer.Option(
        envvar="AMULET_MODEL",
        metavar="NAME",
        help=f"Hugging Face id, local folder, or '{EMBEDDED}' (SmolLM2-135M-Instruct).",
        rich_help_panel=_MODEL,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="The system message, which the preferences follow.",
        show_default="a neutral one",
        rich_help_panel=_ANSWER,
    ),
]
MaxTokens = Annotated[
    int, typer.Option(min=1, metavar="N", help="Most tokens of an answer.", rich_help_panel=_ANSWER)
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.0,
        metavar="T",
        help="0 takes the likeliest token; above 0 samples.",
        rich_help_panel=_ANSWER,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
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
