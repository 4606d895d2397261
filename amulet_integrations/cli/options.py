"""Options that several commands share, each said once."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from amulet_integrations.cli.screen import number
from amulet_integrations.decoding import AmuletParams, check_guidance_scale
from amulet_integrations.decoding.strength import PresetName, Strength
from amulet_integrations.engine.backends.transformers.model_source import EMBEDDED
from amulet_integrations.errors import InvalidParamsError

METHODS = (
    "How preferences are applied: amulet, linear_alignment, pref (in the prompt) or base (not)."
)
_STRENGTH = "How strongly (one of --guidance-scale, --preset and --iterations)"
_ANSWER = "The answer"
_MODEL = "The model"


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def flowing(text: str) -> str:
    """A help text whose paragraphs are as wide as the terminal, not as the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def read_strength(
    guidance_scale: float | None,
    preset: PresetName | None,
    max_kl: str | None,
    iterations: int | None,
) -> Strength:
    """What the options say of the strength; nothing where none of them is given.

    Raises:
        InvalidParamsError: A value is out of its range or too strong, or two strengths are given.
    """
    said = Strength(
        guidance_scale=guidance_scale,
        params=None if iterations is None else AmuletParams(iterations=iterations),
        preset=preset,
        max_kl="default" if max_kl is None else read_max_kl(max_kl),
    )
    if said.has_scale:
        given = "--guidance-scale" if iterations is None else f"--iterations {iterations}"
        check_guidance_scale(said.settled().guidance_scale, source=given)
    return said


def read_max_kl(text: str) -> float | None:
    """A bound as it is typed: nats, or "none".

    Raises:
        InvalidParamsError: It is neither.
    """
    if text.strip().lower() == "none":
        return None
    try:
        bound = float(text)
    except ValueError:
        bound = -1.0
    if not 0.0 <= bound < math.inf:
        raise InvalidParamsError(
            f"--max-kl {text}: give nats a token, 0 or more, such as 0.2, or none for no bound."
        )
    return bound


def strength_label(guidance_scale: float, max_kl: float | None) -> str:
    """A strength and its bound in a few characters."""
    bound = "" if max_kl is None else f", KL ≤ {number(max_kl)}"
    return f"{number(guidance_scale)}{bound}"


def help_if_alone(context: typer.Context) -> None:
    """Shows the help of a group that was called without a command."""
    if context.invoked_subcommand is None:
        context.get_help()


GuidanceScale = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="How strongly preferences are applied: 1 puts them into the prompt and no more, above "
        "1 amplifies them.",
        show_default="the preset's",
        rich_help_panel=_STRENGTH,
    ),
]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        metavar="NAME",
        help="A strength by name: gentle, default, strong; paper is the published method.",
        show_default="default",
        rich_help_panel=_STRENGTH,
    ),
]
MaxKL = Annotated[
    str | None,
    typer.Option(
        "--max-kl",
        metavar="NATS",
        help="A bound on what the strength may do to a token; none lifts it.",
        show_default="the preset's",
        rich_help_panel=_STRENGTH,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="The strength as updates of Amulet's game: 1, 2, 10, 60 give 1.95, 2.46, 3.90, 5.65.",
        show_default=False,
        rich_help_panel=_STRENGTH,
    ),
]
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
