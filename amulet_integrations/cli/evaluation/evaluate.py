"""`amulet evaluate`: the paper's experiments on any model, questions and preferences."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from amulet_integrations.cli.loading import open_engine
from amulet_integrations.cli.options import (
    Backend,
    EngineOptions,
    Model,
    Temperature,
    examples,
    option,
)
from amulet_integrations.decoding import SamplingParams
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.evaluation import (
    DEFAULT_METHODS,
    PAPER_PREFERENCES,
    read_preferences,
    read_questions,
)
from amulet_integrations.evaluation.data.set_ups import read_set_up

from .evaluate_inputs import check_field, compared_methods, find_judge, find_scorers
from .evaluate_options import (
    ANSWERS,
    DEFAULT_ALLOWANCE,
    QUESTIONS,
    REPORT,
    SCORES,
    Allowance,
    DataField,
    Dtype,
    Relevance,
    Sample,
    data_option,
    preference_option,
)
from .evaluate_report import check_saving, save_recommended, show_report
from .progress_bars import ProgressBars

EPILOG = examples(
    "amulet evaluate --data questions.json --sample 20 --preference creative",
    'amulet evaluate --data questions.csv --preference "poet=Answer as a poet." --method amulet',
    "amulet evaluate --data truthful_qa --sample 50 --set-up paper --method amulet@paper",
    "amulet evaluate --data questions.json --sample 20 --curve --save-preset",
)
EARLIER_NAMES = {"strength": "iterations"}
_question = partial(option, panel=QUESTIONS)
_answer = partial(option, panel=ANSWERS)
_score = partial(option, panel=SCORES)
_report = partial(option, panel=REPORT)


def evaluate(
    *,
    data: Annotated[list[str], data_option],
    data_field: DataField = None,
    sample: Sample = None,
    skip_too_long: Annotated[
        bool,
        _question(
            None,
            "Leave out questions that leave no room for an answer in the model's context window, "
            "instead of refusing all.",
            "--skip-too-long",
        ),
    ] = False,
    preference: Annotated[list[str], preference_option] = list(PAPER_PREFERENCES),  # noqa: B006
    model: Model = EMBEDDED,
    backend: Backend = "auto",
    engine_options: EngineOptions = None,
    dtype: Dtype = "auto",
    method: Annotated[
        list[str],
        _answer(
            "NAME",
            "base, pref, beam_search, linear_alignment, amulet (the default preset); or with "
            "a strength: a preset (amulet@gentle, @strong, @paper), iterations (amulet@10), a "
            "guidance scale (amulet@p=2.5), beams (beam_search@4); and with a bound in nats, such "
            "as amulet@p=2.5,kl=0.2. Without kl, iterations and scales have none, exactly as "
            "published. Repeat for more.",
        ),
    ] = list(DEFAULT_METHODS),  # noqa: B006
    iterations: Annotated[
        list[int] | None,
        _answer(
            "N",
            "Amulet with so many updates of its game as well, without a bound; repeat for more "
            "points of the frontier.",
            min=0,
        ),
    ] = None,
    curve: Annotated[
        bool,
        _answer(
            None,
            "Amulet with the guidance scales 1.5, 2, 3 and 5 under the bounds 0.1, 0.2 and 0.4 as "
            "well: the frontier of what guidance gains and costs.",
            "--curve",
        ),
    ] = False,
    set_up: Annotated[
        str,
        _answer("NAME", "How questions are put: default, or paper with the paper's system prompt."),
    ] = "default",
    max_tokens: Annotated[
        int | None, _answer("N", "Most tokens of an answer.", default="128", min=1)
    ] = None,
    temperature: Temperature = 0.0,
    seed: Annotated[int, _answer("N", "Draws samples again.", min=0)] = 0,
    reward_model: Annotated[
        str | None,
        _score("NAME", "A reward model, such as RLHFlow/ArmoRM-Llama3-8B-v0.1 (the paper's)."),
    ] = None,
    reward_index: Annotated[
        int | None, _score("N", "Which of several rewards counts.", default="6 for ArmoRM", min=0)
    ] = None,
    trust_remote_code: Annotated[
        bool,
        _score(
            None,
            "Run code that comes with the reward model; ArmoRM needs it.",
            "--trust-remote-code",
        ),
    ] = False,
    relevance: Relevance = None,
    judge: Annotated[
        str | None,
        _score(
            "NAME",
            "Who compares answers: a model as in --model, or PROVIDER:MODEL as LangChain names it.",
        ),
    ] = None,
    allowance: Allowance = DEFAULT_ALLOWANCE,
    save_preset: Annotated[
        bool,
        _report(
            None,
            "Keep the recommended guidance scale and bound for this model, where chat models and "
            "LLMs of this package find them.",
            "--save-preset",
        ),
    ] = False,
    output: Annotated[
        Path,
        _report("FOLDER", "Where answers and report go. A run that was stopped goes on there."),
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

    # Mistakes are found before the model is loaded, and long before the report.
    check_plots()
    check_folder(output)
    read_set_up(set_up)
    SamplingParams(temperature=temperature)
    check_field(data_field, data)
    make_scorers = find_scorers(
        relevance, reward_model, reward_index, trust_remote_code=trust_remote_code
    )
    preferences = read_preferences(preference)
    methods = compared_methods(method, iterations or [], curve=curve)
    if save_preset:
        check_saving(methods)
    make_judge = None if judge is None else find_judge(judge)
    questions = read_questions(data, field=data_field, sample=sample, seed=seed)
    engine = open_engine(model, backend, engine_options, dtype=dtype)
    scorers = make_scorers()
    judging = None if make_judge is None else make_judge()
    with ProgressBars() as bars:
        evaluation = run(
            engine,
            questions,
            preferences,
            methods,
            max_new_tokens=max_tokens,
            temperature=temperature,
            sample=sample,
            seed=seed,
            set_up=set_up,
            skip_too_long=skip_too_long,
            output=output,
            scorers=scorers,
            judge=judging,
            progress=bars,
        )
    contents = show_report(evaluation, output, allowance)
    if save_preset:
        save_recommended(engine, contents)
