"""Runs an evaluation: reads its inputs, generates the answers, and measures and judges them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.evaluation.data.methods import DEFAULT_METHODS, read_methods
from amulet_integrations.evaluation.data.named_preferences import (
    PAPER_PREFERENCES,
    read_preferences,
)
from amulet_integrations.evaluation.data.questions import Source, read_questions
from amulet_integrations.evaluation.data.record_types import (
    Answer,
    Method,
    Outcome,
    Preference,
    Progress,
    ProgressCallback,
    ScoreLine,
    group_by,
)
from amulet_integrations.evaluation.data.set_ups import SetUp, read_set_up
from amulet_integrations.evaluation.judging.judge import Judge, ask_judge
from amulet_integrations.evaluation.metrics import measuring
from amulet_integrations.evaluation.metrics.likelihoods import LikelihoodScorer
from amulet_integrations.evaluation.metrics.scorer import Scorer

from . import answer_tasks
from .answering import check_methods, generate_answers
from .evaluation_result import Evaluation
from .output_folder import OutputFolder, check_folder, open_folder
from .run_settings import Settings


def evaluate(
    model: str | os.PathLike[str] | Engine,
    questions: Source | Iterable[Source],
    preferences: str | Preference | Iterable[str | Preference] = PAPER_PREFERENCES,
    methods: str | Method | Iterable[str | Method] = DEFAULT_METHODS,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    sample: int | None = None,
    seed: int = 0,
    field: str | None = None,
    set_up: str | SetUp = "default",
    dtype: str = "auto",
    skip_too_long: bool = False,
    output: str | os.PathLike[str] | None = None,
    scorers: Sequence[Scorer] = (),
    judge: Judge | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Answers questions by every method under every preference, and measures the answers.

    Args:
        model: A checkpoint (hub id, local folder, or "embedded"), or an engine.
        questions: Files, data sets by name, or questions; see `read_questions`.
        preferences: Names or texts; see `read_preferences`. The paper's four by default.
        methods: Names; see `read_methods`. The paper's five by default.
        max_new_tokens: The most tokens of an answer; by default the set-up's number.
        temperature: 0 takes the most likely token. Beam search ignores it.
        sample: How many questions of each data set; None takes all.
        seed: The same seed gives the same sample and, in float32, the same answers.
        field: The field of the question in files.
        set_up: How questions are put to the model: "default" is this package's way, "paper" has
            the paper's system prompt.
        dtype: The dtype in which a checkpoint is loaded.
        skip_too_long: Whether questions that leave no room for an answer in the model's context
            window are left out. The settings count them.
        output: A folder in which every answer is stored at once. A run that was stopped is resumed
            there, without losing or repeating an answer. None stores nothing.
        scorers: Further scorers, beside the likelihoods.
        judge: A LangChain chat model that compares Amulet's answers with those of each other
            method.
        progress: Called after each answer, and after each few that are measured or judged.

    Returns:
        The answers with their scores.

    Raises:
        EvaluationError: Questions, preferences or methods cannot be used, or `output` contains
            something else. Nothing is overwritten.
        AmuletError: The model cannot be loaded, or fails. Answers that were given are kept.
    """
    preferences = read_preferences(preferences)
    methods = read_methods(methods)
    set_up = read_set_up(set_up)
    if max_new_tokens is None:
        max_new_tokens = set_up.max_new_tokens
    SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature)  # refused early
    measuring.check_scorers(scorers)
    wanted = read_questions(questions, field=field, sample=sample, seed=seed)
    path = None if output is None else Path(output)
    if path is not None:
        check_folder(path)
    if isinstance(model, str | os.PathLike):
        from amulet_integrations.engine import ModelSource, shared_engine  # noqa: PLC0415 - torch

        engine: Engine = shared_engine(ModelSource(os.fspath(model), dtype=dtype))
    else:
        engine = model
    check_methods(engine, methods)
    prompts = answer_tasks.write_prompts(
        engine,
        set_up,
        wanted,
        preferences,
        max_new_tokens=max_new_tokens,
        skip_too_long=skip_too_long,
    )
    tasks = answer_tasks.make_tasks(prompts, preferences, methods)
    settings = Settings.of(
        engine,
        [*prompts],
        prompts_sha256=answer_tasks.prompts_digest(prompts),
        left_out=dict(Counter(it.data_set for it in wanted if it not in prompts)),
        set_up=set_up,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        sample=sample,
        preferences=preferences,
        methods=methods,
    )
    on_progress = progress or (lambda _: None)
    scorers = (LikelihoodScorer(engine, tasks), *scorers)
    with open_folder(path, settings) as folder:
        answers = _answer_all(engine, tasks, settings, folder, on_progress)
        by_name = {preference.name: preference for preference in preferences}
        lines = measuring.measure_all(scorers, answers, by_name, folder.scores, on_progress)
        lines += _lines_of_others(lines, folder.scores.lines)
        outcomes: list[Outcome] = []
        if judge is not None:
            outcomes = ask_judge(
                judge, answers, methods, by_name, folder.outcomes, on_progress=on_progress
            )
        judges = {outcome.judge for outcome in outcomes}
        earlier = [outcome for outcome in folder.outcomes.lines if outcome.judge not in judges]
        return Evaluation.of(settings, answers, lines, [*earlier, *outcomes], path)


def _answer_all(
    engine: Engine,
    tasks: Sequence[answer_tasks.AnswerTask],
    settings: Settings,
    folder: OutputFolder,
    on_progress: ProgressCallback,
) -> list[Answer]:
    """Returns the answer of each task. Answers in the folder are not generated again."""
    found = {answer.key: answer for answer in folder.answers.lines}
    missing = [task for task in tasks if task.key not in found]
    rows = {task.key: task.rows for task in tasks}
    total = sum(rows.values())
    done = total - sum(task.rows for task in missing)
    on_progress(Progress("answers", len(found), len(tasks), done / total))
    sampling = SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stop=settings.set_up.prompts(engine.tokenizer).stop,
    )
    generated = generate_answers(engine, missing, sampling=sampling, seed=settings.seed)
    with closing(generated) as answers:
        for answer in answers:
            folder.answers.add(answer)
            found[answer.key] = answer
            done += rows[answer.key]
            on_progress(Progress("answers", len(found), len(tasks), done / total))
    return [found[task.key] for task in tasks]


def _lines_of_others(lines: Sequence[ScoreLine], stored: Sequence[ScoreLine]) -> list[ScoreLine]:
    """Returns the stored scores of other scorers, unless these give a score of the same name."""
    names = {name for line in lines for name in line.scores}
    scorers = {line.scorer for line in lines}
    others: list[ScoreLine] = []
    for scorer, own in group_by(stored, lambda line: line.scorer).items():
        own_names = {name for line in own for name in line.scores}
        if scorer not in scorers and not own_names & names:
            others += own
            names |= own_names
    return others
