"""The parts of the study: which settings answer which questions, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation.runs.journal import Journal
from benchmarks.defaults.facts import fact_questions, facts_to_screen
from benchmarks.defaults.questions import (
    PREFERENCES,
    SCREENED_OF_EACH_SET,
    UNRELATED_PREFERENCES,
    Question,
    questions,
)
from benchmarks.defaults.settings import (
    BASE,
    CANDIDATES,
    PAPER,
    PREF,
    Setting,
    loop_breakers,
)
from benchmarks.defaults.study import RecordedAnswer, Study, jobs

ANSWERS = "answers.jsonl"
PAPER_QUESTIONS = 10
"""On so many questions the published strength is shown; what it does needs no more."""


@contextmanager
def opened(folder: Path, rows: int) -> Iterator[Study]:
    """The study whose answers are in a folder.

    Args:
        folder: It must be there.
        rows: Most contexts that are decoded at once.
    """
    with (
        Journal(folder / ANSWERS, RecordedAnswer) as journal,
        LocalEngine.from_pretrained(
            dtype="float32", max_rows=rows, max_prefix_tokens=65_536, prompt_lookup_num_tokens=0
        ) as engine,
    ):
        yield Study(engine, journal, partial(print, flush=True))


def facts(study: Study, settings: Sequence[Setting] = ()) -> None:
    """Base, pref and some settings on every fact.

    Those to screen are chosen by the answers of pref, so pref answers before any other.
    """
    for answering in ((BASE, PREF), settings):
        study.run(jobs(answering, fact_questions(), UNRELATED_PREFERENCES), "all facts")


def screen(study: Study) -> None:
    """Every candidate on some of the questions and facts."""
    facts(study)
    chosen = screened_facts(study.answers)
    shown = [*CANDIDATES, PAPER]
    study.run(jobs(shown, chosen, UNRELATED_PREFERENCES), "facts, screening")
    screened = questions(SCREENED_OF_EACH_SET)
    few = screened[:PAPER_QUESTIONS]
    settings = (BASE, PREF, *CANDIDATES)
    study.run(
        [
            *jobs((*settings, PAPER), few, PREFERENCES),
            *jobs(settings, screened[len(few) :], PREFERENCES),
        ],
        "screening",
    )


def loops(study: Study, settings: Sequence[Setting]) -> None:
    """Measures against repetition, beside each of some settings."""
    breakers = [each for setting in settings for each in loop_breakers(setting)]
    study.run(jobs(breakers, screened_facts(study.answers), UNRELATED_PREFERENCES), "facts, loops")
    study.run(jobs(breakers, questions(SCREENED_OF_EACH_SET), PREFERENCES), "loops")


def confirm(study: Study, settings: Sequence[Setting], set_up: str, every: int) -> None:
    """Some settings on every question and every fact."""
    compared = (BASE, PREF, *settings)
    study.run(jobs(compared, questions()[::every], PREFERENCES, set_up), f"confirming, {set_up}")
    study.run(jobs(compared, fact_questions(), UNRELATED_PREFERENCES, set_up), f"facts, {set_up}")


def screened_facts(answers: Iterable[RecordedAnswer]) -> list[Question]:
    """The facts of the screening, by the answers of pref before any guided setting answered."""
    answers = [
        (answer.asked, answer.text)
        for answer in answers
        if answer.set_ == "facts" and answer.set_up == "default" and answer.setting == PREF.name
    ]
    keys = facts_to_screen(answers)
    return [question for question in fact_questions() if question.key in keys]
