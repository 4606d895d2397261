"""`amulet evaluate`: the paper's experiments on any model, questions and preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amulet_integrations.cli.bars import Bars
from amulet_integrations.cli.compared import check_field, check_reward, read_compared
from amulet_integrations.cli.judges import find_judge
from amulet_integrations.cli.options import Model, examples
from amulet_integrations.cli.reported import check_saving, save_recommended, show_report
from amulet_integrations.cli.scorers import check_relevance, make_scorers
from amulet_integrations.cli.session import open_engine
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.engine.backends.transformers.model_source import EMBEDDED
from amulet_integrations.evaluation import (
    DEFAULT_METHODS,
    PAPER_PREFERENCES,
    read_preferences,
    read_questions,
)
from amulet_integrations.evaluation.data.set_ups import read_set_up

EPILOG = examples(
    "amulet evaluate --data questions.json --sample 20 --preference creative",
    'amulet evaluate --data questions.csv --preference "poet=Answer as a poet." --method amulet',
    "amulet evaluate --data truthful_qa --sample 50 --set-up paper --method amulet@paper",
    "amulet evaluate --data questions.json --sample 20 --curve --save-preset",
)
_WHAT = "What is asked"
_HOW = "How it is answered"
_SCORES = "How it is measured"
_ALLOWANCE = 0.1  # DEFAULT_ALLOWANCE, whose module brings numpy


def evaluate(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="Questions: .json, .jsonl or .csv, or one of the paper's data sets (truthful_qa, "
            "personal_preference_eval, ultrachat, helpsteer). Repeat for more.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ],
    data_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The field that holds the question.",
            show_default="question, prompt or instruction",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Draw so many questions of each data set.",
            show_default="all",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    skip_too_long: Annotated[
        bool,
        typer.Option(
            "--skip-too-long",
            help="Leave out questions that leave no room for an answer in the model's context "
            "window, instead of asking none.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    preference: Annotated[
        list[str],
        typer.Option(
            metavar="NAME_OR_TEXT",
            help="creative, verbose, concise, uplifting, sycophantic, complex, formal, pleasant; "
            "or any text, or NAME=TEXT. Repeat for more.",
            rich_help_panel=_WHAT,
        ),
    ] = list(PAPER_PREFERENCES),  # noqa: B006
    model: Model = EMBEDDED,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="What the model computes in: float32 gives the same answers again, whatever "
            "runs beside them.",
            rich_help_panel="The model",
        ),
    ] = "auto",
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="base, pref, beam_search, linear_alignment, amulet (the default preset); or with "
            "a strength: a preset (amulet@gentle, @strong, @paper), iterations (amulet@10), a "
            "guidance scale (amulet@p=2.5), beams (beam_search@4); and with a bound in nats, such "
            "as amulet@p=2.5,kl=0.2. Without kl, iterations and scales have none, exactly as "
            "published. Repeat for more.",
            rich_help_panel=_HOW,
        ),
    ] = list(DEFAULT_METHODS),  # noqa: B006
    strength: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Amulet with so many iterations as well, without a bound; repeat for more points "
            "of the frontier.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    curve: Annotated[
        bool,
        typer.Option(
            "--curve",
            help="Amulet with the guidance scales 1.5, 2, 3 and 5 under the bounds 0.1, 0.2 and "
            "0.4 as well: the frontier of what guidance gains and costs.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    set_up: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How questions are put: default, or paper with the paper's system prompt.",
            rich_help_panel=_HOW,
        ),
    ] = "default",
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Most tokens of an answer.",
            show_default="128",
            rich_help_panel=_HOW,
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="T",
            help="0 takes the likeliest token; above 0 samples, beam search excepted.",
            rich_help_panel=_HOW,
        ),
    ] = 0.0,
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Draws samples again.", rich_help_panel=_HOW),
    ] = 0,
    reward_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A reward model, such as RLHFlow/ArmoRM-Llama3-8B-v0.1 (the paper's).",
            show_default=False,
            rich_help_panel=_SCORES,
        ),
    ] = None,
    reward_index: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Which of several rewards counts.",
            show_default="6 for ArmoRM",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run code that comes with the reward model; ArmoRM needs it.",
            rich_help_panel=_SCORES,
        ),
    ] = False,
    relevance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The sentence embedding that says whether answers are about their questions: a "
            "Hugging Face id, a local folder, embedded, or none.",
            show_default="embedded, where it is installed",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who compares answers: a model as in --model, or PROVIDER:MODEL as LangChain "
            "names it.",
            show_default=False,
            rich_help_panel=_SCORES,
        ),
    ] = None,
    allowance: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="NATS",
            help="By how many nats per token -log P(answer | preference) may rise beside pref at "
            "the recommended point.",
            rich_help_panel="The report",
        ),
    ] = _ALLOWANCE,
    save_preset: Annotated[
        bool,
        typer.Option(
            "--save-preset",
            help="Keep the recommended guidance scale and bound for this model, where chat models "
            "and LLMs of this package find them.",
            rich_help_panel="The report",
        ),
    ] = False,
    output: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Where answers and report go. A run that was stopped goes on there.",
            rich_help_panel="The report",
        ),
    ] = Path("amulet-evaluation"),
) -> None:
    """Answer questions by every method under every preference, and measure the answers.

    base knows no preference; pref has it in the prompt; beam search looks for the likeliest answer
    to that; linear alignment and Amulet amplify what the preference changes. Every answer is kept
    at once: the same command goes on where it was stopped.
    """
    from amulet_integrations.evaluation import evaluate as run  # noqa: PLC0415
    from amulet_integrations.evaluation.reporting.plots import check_plots  # noqa: PLC0415
    from amulet_integrations.evaluation.runs.output_folder import check_folder  # noqa: PLC0415

    # Mistakes are told before the model is loaded, and long before the report.
    check_plots()
    check_folder(output)
    read_set_up(set_up)
    SamplingParams(temperature=temperature)
    check_field(data_field, data)
    check_reward(reward_model, reward_index, trust_remote_code=trust_remote_code)
    check_relevance(relevance)
    preferences = read_preferences(preference)
    methods = read_compared(method, strength or [], curve=curve)
    if save_preset:
        check_saving(methods)
    judged_by = None if judge is None else find_judge(judge)
    questions = read_questions(data, field=data_field, sample=sample, seed=seed)
    engine = open_engine(model, dtype)
    scorers = make_scorers(
        relevance, reward_model, reward_index, trust_remote_code=trust_remote_code
    )
    with Bars() as bars:
        found = run(
            engine,
            questions,
            preferences,
            methods,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            sample=sample,
            seed=seed,
            set_up=set_up,
            skip_too_long=skip_too_long,
            output=output,
            scorers=scorers,
            judge=None if judged_by is None else judged_by(),
            progress=bars,
        )
    contents = show_report(found, output, allowance)
    if save_preset:
        save_recommended(engine, contents)
