"""`amulet sweep`: the same questions at several strengths, side by side, and the one to take."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amulet_integrations.cli import options, terminal
from amulet_integrations.cli.loading import open_engine, open_store
from amulet_integrations.cli.options import option
from amulet_integrations.cli.profile.group import print_json
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import PRESETS, Preset, PresetName
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.evaluation import Question, read_preferences, read_questions
from amulet_integrations.evaluation.sweeping.asked_questions import as_questions
from amulet_integrations.evaluation.sweeping.swept_strengths import (
    DEFAULT_STRENGTHS,
    read_strengths,
)

from . import evaluate_options
from .evaluate_inputs import check_field, find_scorers
from .evaluate_options import Allowance, DataField, Dtype, Relevance, Sample
from .progress_bars import ProgressBars
from .sweep_output import check_output, check_profile, check_saving, save_strength, write_files

if TYPE_CHECKING:
    from amulet_integrations.profiles import SqlProfileStore

EPILOG = options.examples(
    'amulet sweep "How do I make tea?" --preference "Be concise."',
    "amulet sweep --data questions.json --sample 20 --preference concise --save ann",
    'amulet sweep "What is rain?" --preference "Rhyme." --guidance-scale 1.5,2,4 --page rain.html',
)
DEFAULT_PAGE = Path("sweep.html")
_strength = partial(option, panel="How strongly")
_report = partial(option, panel=evaluate_options.REPORT)


def sweep(
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="What to ask; several may follow each other."),
    ] = None,
    *,
    preference: Annotated[list[str], evaluate_options.preference_option],
    data: Annotated[list[str] | None, evaluate_options.data_option] = None,
    data_field: DataField = None,
    sample: Sample = None,
    guidance_scale: Annotated[
        list[str] | None,
        _strength(
            "P",
            "A guidance scale: 0 is base, 1 is pref, above 1 amplifies the preference. Repeat for "
            "more, or put commas between them. With --preset and --iterations, all are compared.",
            default="none",
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        _strength(
            "NAME",
            "gentle, default, strong or paper. Repeat for more.",
            default="all, if no strength is given",
        ),
    ] = None,
    iterations: Annotated[
        list[int] | None,
        _strength("N", "Updates of Amulet's game. Repeat for more.", min=0),
    ] = None,
    max_kl: Annotated[
        str | None,
        _strength(
            "NATS",
            "The bound of every strength; none lifts it.",
            default="the preset's; 0.1 for other strengths above 1",
        ),
    ] = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: Annotated[
        int, option("N", "Draws samples again.", panel=evaluate_options.ANSWERS, min=0)
    ] = 0,
    model: options.Model = EMBEDDED,
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
    dtype: Dtype = "auto",
    relevance: Relevance = None,
    allowance: Allowance = evaluate_options.DEFAULT_ALLOWANCE,
    save: Annotated[
        str | None,
        _report("USER", "Write the recommended strength into the profile of this user."),
    ] = None,
    profiles: options.Profiles = None,
    page: Annotated[
        Path, _report("FILE", "Where the page is written; an earlier page there is replaced.")
    ] = DEFAULT_PAGE,
    no_page: Annotated[bool, _report(None, "Write no page.", "--no-page")] = False,
    plot: Annotated[Path | None, _report("FILE", "Draw the scores by strength as a PNG.")] = None,
    as_json: options.Json = False,
) -> None:
    """Answer the same questions at several strengths, side by side, and measure the answers.

    Under each answer are its preference ratio, its price (pref NLL), its fluency, its relevance
    and its words. The recommended strength is the one that amulet evaluate would recommend. One
    question tells little: give several, or a file of them. All of it is written as a page too, one
    HTML file that needs no network.
    """
    from amulet_integrations.evaluation import sweep as run  # noqa: PLC0415 - brings numpy

    # Mistakes are found before the model is loaded.
    strengths = _read_strengths(guidance_scale, preset, iterations, max_kl)
    methods = read_strengths(strengths)
    preferences = read_preferences(preference)
    SamplingParams(max_new_tokens=max_tokens, temperature=temperature)
    asked = _read_questions(questions or [], data or [], data_field, sample, seed)
    check_output(None if no_page else page, plot)
    make_scorers = find_scorers(relevance, None, None, trust_remote_code=False)
    with ExitStack() as stack:
        store: SqlProfileStore | None = None
        if save is not None:
            check_saving(save, methods)
            store = stack.enter_context(open_store(profiles))
            check_profile(store, save, preferences)
        engine = open_engine(model, backend, engine_options, dtype=dtype)
        scorers = make_scorers()
        with ProgressBars() as bars:
            found = run(
                engine,
                asked,
                preferences,
                strengths,
                system=system,
                max_new_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                scorers=scorers,
                allowance=allowance,
                progress=bars,
            )
        if as_json:
            print_json(found.to_dict())
        else:
            from .sweep_view import show_sweep  # noqa: PLC0415 - brings numpy

            show_sweep(found)
        say = terminal.notice if as_json else terminal.say
        write_files(found, say, None if no_page else page, plot)
        if save is not None and store is not None:
            say(save_strength(found, store, save))


def _read_strengths(
    scales: list[str] | None,
    presets: list[str] | None,
    iterations: list[int] | None,
    max_kl: str | None,
) -> list[Preset]:
    """The strengths that the options name, each with its bound.

    Raises:
        InvalidParamsError: One is no number, out of its range, or too strong.
    """
    if not (scales or presets or iterations):
        presets = [*DEFAULT_STRENGTHS]
    named = [
        *(options.read_strength(preset=_preset(it), max_kl=max_kl) for it in presets or ()),
        *(options.read_strength(scale, max_kl=max_kl) for scale in _numbers(scales or ())),
        *(options.read_strength(iterations=it, max_kl=max_kl) for it in iterations or ()),
    ]
    return [strength.settled() for strength in named]


def _preset(name: str) -> PresetName:
    if name not in PRESETS:
        raise InvalidParamsError(f"--preset {name!r}: give one of {', '.join(PRESETS)}.")
    return name


def _numbers(texts: list[str] | tuple[()]) -> list[float]:
    found = []
    for text in ",".join(texts).split(",") if texts else ():
        try:
            found.append(float(text))
        except ValueError:
            raise InvalidParamsError(
                f"--guidance-scale {text!r}: give a number such as 2, or several with commas "
                "between them, such as 1.5,2,4."
            ) from None
    return found


def _read_questions(
    typed: list[str], data: list[str], field: str | None, sample: int | None, seed: int
) -> list[Question]:
    """The questions that were typed, and then those of files.

    Raises:
        typer.BadParameter: There is none, or an option of files is given without a file.
        EvaluationError: One cannot be read.
    """
    if not typed and not data:
        raise typer.BadParameter('give a question: amulet sweep "How do I make tea?" …')
    if not data and (field is not None or sample is not None):
        name = "--sample" if field is None else "--data-field"
        raise typer.BadParameter(f"{name} is about files of questions; give one by --data.")
    if data:
        check_field(field, data)
    asked = as_questions(typed)
    return [*asked, *(read_questions(data, field=field, sample=sample, seed=seed) if data else ())]
