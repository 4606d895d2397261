"""`amulet evaluate`: the paper's experiments on any model, questions and preferences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.bars import Bars
from amulet_integrations.cli.compared import check_field, check_reward, read_compared
from amulet_integrations.cli.judges import find_judge
from amulet_integrations.cli.options import Model, examples
from amulet_integrations.cli.session import open_engine
from amulet_integrations.cli.tables import show_table
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.evaluation import (
    DEFAULT_METHODS,
    PAPER_PREFERENCES,
    read_preferences,
    read_questions,
)
from amulet_integrations.evaluation.methods import DEFAULT_STRENGTHS
from amulet_integrations.evaluation.set_ups import read_set_up

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Evaluation, Scorer

EPILOG = examples(
    "amulet evaluate --data questions.json --sample 20 --preference creative",
    'amulet evaluate --data questions.csv --preference "poet=Answer as a poet." --method amulet',
    "amulet evaluate --data truthful_qa --sample 50 --set-up paper --curve",
)
_WHAT = "What is asked"
_HOW = "How it is answered"
_SCORES = "How it is measured"
_ALLOWANCE = 0.25  # DEFAULT_ALLOWANCE, whose module brings numpy


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
            help="base, pref, beam_search, linear_alignment, amulet; or with a number, such as "
            "amulet@10 or beam_search@4. Repeat for more.",
            rich_help_panel=_HOW,
        ),
    ] = list(DEFAULT_METHODS),  # noqa: B006
    strength: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Amulet with so many iterations as well; repeat for the trade-off curve.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    curve: Annotated[
        bool,
        typer.Option(
            "--curve",
            help="Amulet with "
            f"{', '.join(map(str, DEFAULT_STRENGTHS[:-1]))} and {DEFAULT_STRENGTHS[-1]} iterations "
            "as well: the trade-off curve.",
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
            help="How much fluency, in nats per token, the recommended strength may cost.",
            rich_help_panel="The report",
        ),
    ] = _ALLOWANCE,
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
    from amulet_integrations.evaluation.folder import check_folder  # noqa: PLC0415
    from amulet_integrations.evaluation.reporting.plots import check_plots  # noqa: PLC0415

    # Mistakes are told before the model is loaded, and long before the report.
    check_plots()
    check_folder(output)
    read_set_up(set_up)
    SamplingParams(temperature=temperature)
    check_field(data_field, data)
    check_reward(reward_model, reward_index, trust_remote_code=trust_remote_code)
    preferences = read_preferences(preference)
    methods = read_compared(method, strength or [], curve=curve)
    judged_by = None if judge is None else find_judge(judge)
    questions = read_questions(data, field=data_field, sample=sample, seed=seed)
    engine = open_engine(model, dtype)
    scorers = _scorers(reward_model, reward_index, trust_remote_code=trust_remote_code)
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
    _report(found, output, allowance)


def _scorers(
    reward_model: str | None, index: int | None, *, trust_remote_code: bool
) -> list[Scorer]:
    from amulet_integrations.evaluation.sentiment import (  # noqa: PLC0415
        SentimentScorer,
        has_sentiment,
    )
    from amulet_integrations.evaluation.text_scores import TextScorer  # noqa: PLC0415

    scorers: list[Scorer] = [TextScorer()]
    if has_sentiment():
        scorers.append(SentimentScorer())
    if reward_model is not None:
        from amulet_integrations.evaluation.reward_model import (  # noqa: PLC0415 - torch
            RewardModelScorer,
        )

        scorers.append(
            RewardModelScorer.from_pretrained(
                reward_model, index=index, trust_remote_code=trust_remote_code
            )
        )
    return scorers


def _report(found: Evaluation, folder: Path, allowance: float) -> None:
    from amulet_integrations.evaluation.reporting.contents import gather  # noqa: PLC0415
    from amulet_integrations.evaluation.reporting.report import (  # noqa: PLC0415
        main_text_tables,
        write_contents,
    )

    contents = gather(found, allowance=allowance)
    # The rest would scroll the main ones away; the page has all of them.
    for table in main_text_tables(contents):
        show_table(table)
    if left_out := sum(found.settings.left_out.values()):
        screen.notice(f"{screen.count(left_out, 'question')} too long for the model: left out.")
    page, *others = write_contents(contents, folder)
    typer.echo(f"\nThe report: {screen.one_line(page)}")
    typer.echo(f"Beside it: {screen.one_line(', '.join(path.name for path in others))}")
