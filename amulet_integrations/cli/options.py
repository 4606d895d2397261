"""Options that several commands share, each defined once."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

import typer

from amulet_integrations.decoding import AmuletParams, check_guidance_scale
from amulet_integrations.decoding.preference_gate import PreferenceGate, check_gate
from amulet_integrations.decoding.strength import PresetName, Strength
from amulet_integrations.engine.model_source import EMBEDDED, BackendName
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.profiles.stores.default_place import PLACE_VARIABLE

from .terminal import short_number


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


STRENGTH_OPTIONS = {
    "guidance_scale": "--guidance-scale 2",
    "preset": "--preset strong",
    "iterations": "--iterations 2",
}
"""The options for the strength, each with a value."""

_EARLIER_NAMES = {"db": "profiles", "prefer": "preference", "max-new-tokens": "max-tokens"}


def accept_earlier_names(**more: str) -> dict[str, Any]:
    """The settings of a command whose options are found by earlier names too, unlisted.

    Args:
        **more: The names of options of this command only, by their earlier names.
    """
    names = {**_EARLIER_NAMES, **more}
    return {"token_normalize_func": lambda name: names.get(name, name)}


def flowing(text: str) -> str:
    """A help text whose paragraphs are as wide as the terminal, not as the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def help_if_alone(context: typer.Context) -> None:
    """Shows the help of a group that was called without a command."""
    if context.invoked_subcommand is None:
        context.get_help()


def option(
    metavar: str | None,
    text: str,
    *names: str,
    default: str | None = None,
    panel: str | None = None,
    **settings: Any,
) -> Any:
    """An option of a command.

    Args:
        metavar: Stands for the value in the help; None where there is none, as for a flag.
        text: The help.
        *names: The names, where they are not the parameter's own. Needed too where the metavar is
            the parameter's name in capitals: typer before 0.28 would take the metavar's spelling.
        default: How the help describes the default; None shows its value, if it has one.
        panel: The panel of the help that the option stands in.
        **settings: Further arguments of `typer.Option`.
    """
    if "min" in settings:
        settings.setdefault("callback", _refuse_nan)
    return typer.Option(
        *names,
        metavar=metavar,
        help=text,
        show_default=default or True,
        rich_help_panel=panel,
        **settings,
    )


def _refuse_nan(value: Any) -> Any:
    """The value of an option with a range, in which typer before 0.28 lets nan stand."""
    if isinstance(value, float) and math.isnan(value):
        raise typer.BadParameter("nan is not in the range.")
    return value


def read_strength(
    guidance_scale: float | None = None,
    preset: PresetName | None = None,
    max_kl: str | None = None,
    iterations: int | None = None,
    gate: str | None = None,
) -> Strength:
    """The strength that the options name; an empty one where none of them is given.

    Raises:
        InvalidParamsError: A value is out of its range or too strong, or two strengths are given.
    """
    strength = Strength(
        guidance_scale=guidance_scale,
        params=None if iterations is None else AmuletParams(iterations=iterations),
        preset=preset,
        max_kl="default" if max_kl is None else parse_max_kl("--max-kl", max_kl),
        gate="default" if gate is None else parse_gate("--gate", gate),
    )
    if strength.has_scale:
        source = "--guidance-scale" if iterations is None else f"--iterations {iterations}"
        check_guidance_scale(strength.settled().guidance_scale, source=source)
    return strength


def parse_max_kl(name: str, text: str) -> float | None:
    """A bound in nats a token; None for "none".

    Args:
        name: The option or command, for the message.
        text: What was typed.

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
            f"{name} {text}: give nats a token, 0 or more, such as 0.2, or none for no bound."
        )
    return bound


def parse_gate(name: str, text: str) -> PreferenceGate | None:
    """A gate from its kind, or its kind and threshold, such as "similarity:0.2"; None for "none".

    Args:
        name: The option or command, for the message.
        text: What was typed.

    Raises:
        InvalidParamsError: It is neither.
    """
    kind, colon, threshold = text.strip().lower().partition(":")
    if kind == "none" and not colon:
        return None
    try:
        found = check_gate({"kind": kind} | ({"threshold": float(threshold)} if colon else {}))
    except (ValueError, InvalidParamsError):
        raise InvalidParamsError(
            f"{name} {text:.80}: give similarity, with a threshold from -1 to 1 if you like "
            "(similarity:0.2), or none for no gate."
        ) from None
    assert isinstance(found, PreferenceGate)  # noqa: S101
    return found


def strength_label(guidance_scale: float, max_kl: float | None) -> str:
    """A strength and its bound in a few characters."""
    bound = "" if max_kl is None else f", KL ≤ {short_number(max_kl)}"
    return f"{short_number(guidance_scale)}{bound}"


_strength = partial(option, panel="How strongly")
_answer = partial(option, panel="How it is answered")
method_option = partial(
    option,
    "METHOD",
    "How preferences are applied: amulet, linear_alignment, pref (in the prompt) or base (not).",
    "--method",
)

GuidanceScale = Annotated[
    float | None,
    _strength(
        "P",
        "How strongly preferences are applied: 1 puts them into the prompt and no more, above 1 "
        "amplifies them. Give this, --preset or --iterations.",
        default="the preset's",
    ),
]
Preset = Annotated[
    PresetName | None,
    _strength(
        "NAME",
        "A strength by name: gentle, default, strong; paper is the published method.",
        default="default",
    ),
]
MaxKL = Annotated[
    str | None,
    _strength(
        "NATS",
        "A bound on what the strength may do to a token; none lifts it.",
        default="the profile's, or the preset's",
    ),
]
Gate = Annotated[
    str | None,
    _strength(
        "KIND",
        "Leaves preferences out of answers that they have nothing to do with: similarity, "
        "with a threshold if you like (similarity:0.2); none for no gate.",
        default="the profile's, or none",
    ),
]
Iterations = Annotated[
    int | None,
    _strength(
        "N",
        "The strength as updates of Amulet's game: 1, 2, 10, 60 give 1.95, 2.46, 3.90, 5.65.",
        min=0,
    ),
]
Model = Annotated[
    str,
    option(
        "NAME",
        "Hugging Face id, local folder, GGUF file, ollama:NAME for one of Ollama's, or "
        f"'{EMBEDDED}' (SmolLM2-135M-Instruct).",
        envvar="AMULET_MODEL",
        panel="The model",
    ),
]
Backend = Annotated[
    BackendName,
    option(
        "NAME",
        "What computes: transformers, llama_cpp, or auto, which is llama.cpp for GGUF files where "
        "it is installed.",
        envvar="AMULET_BACKEND",
        panel="The model",
    ),
]
EngineOptions = Annotated[
    list[str] | None,
    option(
        "NAME=VALUE",
        "An argument of the engine, such as max_rows=128, device=cpu, or llama.cpp's n_ctx=8192; "
        "repeat for more. Values are JSON or text.",
        "--engine-option",
        default="none",
        panel="The model",
    ),
]
System = Annotated[
    str | None,
    _answer("TEXT", "The system message, which the preferences follow.", default="a neutral one"),
]
MaxTokens = Annotated[int, _answer("N", "Most tokens of an answer.", min=1)]
Temperature = Annotated[
    float, _answer("T", "0 takes the likeliest token; above 0 samples.", min=0.0)
]
RepetitionPenalty = Annotated[
    float, _answer("X", "Above 1 keeps the answer from repeating itself; 1 does nothing.")
]
Seed = Annotated[
    int | None, _answer("N", "Makes sampling repeatable.", default="a fresh one", min=0)
]
Profiles = Annotated[
    str | None,
    option(
        "PATH_OR_URL",
        "Where profiles are kept: an SQLite file or a database URL.",
        "--profiles",
        envvar=PLACE_VARIABLE,
        default="profiles.db in your data folder",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
