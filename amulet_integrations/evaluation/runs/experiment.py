"""The experiment itself: questions, preferences and methods in, measured answers out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.evaluation.analysis.result import Evaluation, by_scorer, in_order, merged
from amulet_integrations.evaluation.data.preferences import PAPER_PREFERENCES, read_preferences
from amulet_integrations.evaluation.data.questions import Source, read_questions
from amulet_integrations.evaluation.data.set_ups import SetUp, read_set_up
from amulet_integrations.evaluation.judging.judge import Judge
from amulet_integrations.evaluation.judging.verdicts import ask_judge
from amulet_integrations.evaluation.metrics.likelihoods import LikelihoodScorer
from amulet_integrations.evaluation.metrics.measuring import Measured, check_scorers, measure_all
from amulet_integrations.evaluation.metrics.scorer import Scorer
from amulet_integrations.evaluation.runs.cases import Asked, Case, ask, make_cases
from amulet_integrations.evaluation.runs.fingerprints import prompts_digest
from amulet_integrations.evaluation.runs.folder import OutputFolder, check_folder
from amulet_integrations.evaluation.runs.methods import DEFAULT_METHODS, read_methods
from amulet_integrations.evaluation.runs.progress import Progress, ProgressCallback
from amulet_integrations.evaluation.runs.records import (
    Answer,
    Method,
    Outcome,
    Preference,
    Question,
)
from amulet_integrations.evaluation.runs.running import check_methods, run_cases
from amulet_integrations.evaluation.runs.settings import Settings


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
        max_new_tokens: Most tokens of an answer; the set-up's by default.
        temperature: 0 takes the likeliest token. Beam search knows no other.
        sample: How many questions of each data set; None takes all.
        seed: The same seed gives the same sample and, in float32, the same answers.
        field: The field of the question in files.
        set_up: How questions are put to the model: "default" as this package does, "paper" with
            the paper's system prompt.
        dtype: What a checkpoint is loaded in.
        skip_too_long: Whether questions that leave no room for an answer in the model's context
            window are left out; they are counted in the settings.
        output: A folder, where every answer is kept at once; a run that was stopped goes on there,
            without losing or repeating an answer. None keeps nothing.
        scorers: What else is measured, beside the likelihoods.
        judge: A LangChain chat model that says whether Amulet's answers are better than those of
            each other method.
        progress: Called after each answer, and after each few that are measured or judged.

    Returns:
        The answers, with their scores.

    Raises:
        EvaluationError: Questions, preferences or methods cannot be used, or `output` holds
            something else. Nothing is overwritten.
        AmuletError: The model cannot be loaded, or fails. What was answered is kept.
    """
    asked = read_preferences(preferences)
    compared = read_methods(methods)
    chosen = read_set_up(set_up)
    if max_new_tokens is None:
        max_new_tokens = chosen.max_new_tokens
    SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature)  # refuse them early
    check_scorers(scorers)
    put = read_questions(questions, field=field, sample=sample, seed=seed)
    path = None if output is None else Path(output)
    if path is not None:
        check_folder(path)
    engine = _engine(model, dtype)
    check_methods(engine, compared)
    prompts = ask(
        engine, chosen, put, asked, max_new_tokens=max_new_tokens, skip_too_long=skip_too_long
    )
    cases = make_cases(prompts, asked, compared)
    settings = Settings.of(
        engine,
        [each.question for each in prompts],
        prompts_sha256=prompts_digest([each.base, *each.prefs] for each in prompts),
        left_out=_left_out(put, prompts),
        set_up=chosen,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        sample=sample,
        preferences=asked,
        methods=compared,
    )
    tell = progress or (lambda _: None)
    measuring = (LikelihoodScorer(engine, cases), *scorers)
    with ExitStack() as stack:
        folder = None if path is None else stack.enter_context(OutputFolder(path, settings))
        answers = _answer_all(engine, cases, settings, folder, tell)
        return _found(settings, answers, measuring, judge, folder=folder, tell=tell)


def _found(
    settings: Settings,
    answers: Sequence[Answer],
    scorers: Sequence[Scorer],
    judge: Judge | None,
    *,
    folder: OutputFolder | None,
    tell: ProgressCallback,
) -> Evaluation:
    """Everything that scorers and judges say of the answers, in this run and in earlier ones."""
    names = {preference.name: preference for preference in settings.preferences}
    measured = measure_all(scorers, answers, names, folder.scores if folder else None, tell)
    outcomes: list[Outcome] = []
    if judge is not None:
        verdicts = folder.outcomes if folder else None
        outcomes = ask_judge(judge, answers, settings.methods, names, verdicts, tell=tell)
    if folder is not None:
        measured |= _of_others(measured, by_scorer(folder.scores.lines))
        heard = {outcome.judge for outcome in outcomes}
        outcomes = [*(it for it in folder.outcomes.lines if it.judge not in heard), *outcomes]
    return Evaluation(
        settings=settings,
        answers=in_order(settings, answers, merged(measured)),
        outcomes=tuple(outcomes),
        scorers=tuple(measured),
        judges=tuple(dict.fromkeys(outcome.judge for outcome in outcomes)),
        folder=folder.path if folder else None,
    )


def _of_others(asked: Mapping[str, Measured], kept: Mapping[str, Measured]) -> dict[str, Measured]:
    """What a folder has of scorers that were not asked again; those asked go before a namesake."""
    given = {name for said in asked.values() for scores in said.values() for name in scores}
    found: dict[str, Measured] = {}
    for scorer, said in kept.items():
        names = {name for scores in said.values() for name in scores}
        if scorer not in asked and not names & given:
            found[scorer] = said
            given |= names
    return found


def _engine(model: str | os.PathLike[str] | Engine, dtype: str) -> Engine:
    if not isinstance(model, str | os.PathLike):
        return model
    from amulet_integrations.engine import ModelSource, shared_engine  # noqa: PLC0415 - torch

    return shared_engine(ModelSource(os.fspath(model), dtype=dtype))


def _left_out(questions: Sequence[Question], prompts: Sequence[Asked]) -> dict[str, int]:
    left = Counter(question.data_set for question in questions)
    left.subtract(each.question.data_set for each in prompts)
    return dict(+left)


def _answer_all(
    engine: Engine,
    cases: Sequence[Case],
    settings: Settings,
    folder: OutputFolder | None,
    tell: ProgressCallback,
) -> list[Answer]:
    """Every case's answer; those that the folder has are not asked for again."""
    found = {answer.key: answer for answer in folder.answers.lines} if folder else {}
    left = [case for case in cases if case.key not in found]
    rows = {case.key: case.rows for case in cases}
    total = sum(rows.values())
    done = total - sum(case.rows for case in left)
    tell(Progress("answers", len(found), len(cases), done / total))
    sampling = SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stop=settings.set_up.prompts(engine.tokenizer).stop,
    )
    with closing(run_cases(engine, left, sampling=sampling, seed=settings.seed)) as answers:
        for answer in answers:
            if folder:
                folder.answers.add(answer)
            found[answer.key] = answer
            done += rows[answer.key]
            tell(Progress("answers", len(found), len(cases), done / total))
    return [found[case.key] for case in cases]
