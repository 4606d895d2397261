"""The parts of the study: what is asked, in which order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation.runs.journal import Journal
from benchmarks.defaults.questions import Question
from benchmarks.defaults.settings import BASE, PREF, Setting
from benchmarks.defaults.study import Job, RecordedAnswer, Study
from benchmarks.relevance.neutral import POOL, neutral_questions
from benchmarks.relevance.preferences import (
    PREFERENCES,
    concerned_questions,
    of_half,
)
from benchmarks.relevance.question_scores import UNRELATED_QUESTIONS

ANSWERS = "answers.jsonl"
NOBODY = "nobody"
"""The name under which answers without a preference are kept."""

DEFAULT = Setting(2.0, 0.1)
STRONG = Setting(3.0, 0.3)
SETTINGS = (PREF, DEFAULT, STRONG)
"""What is compared beside base: the presets "default" and "strong", and the prompt alone."""

_NEUTRAL_TOKENS = 24
_CONCERNED_TOKENS = 40
_CALIBRATION_TOKENS = 8
_SHARE = 2  # each neutral question under every second preference
_STYLE_SHARE = 3  # and each preference of style on every third question about a topic
_SEED = "relevance"


def most_tokens(question: Question) -> int:
    """How long the answer to a question gets."""
    if question.set_ == "calibration":
        return _CALIBRATION_TOKENS
    return _CONCERNED_TOKENS if question.set_.startswith("concerned") else _NEUTRAL_TOKENS


@contextmanager
def opened(folder: Path, rows: int) -> Iterator[tuple[LocalEngine, Study]]:
    """The engine, and the study whose answers are in a folder."""
    with (
        Journal(folder / ANSWERS, RecordedAnswer) as journal,
        LocalEngine.from_pretrained(
            dtype="float32", max_rows=rows, max_prefix_tokens=16_384, prompt_lookup_num_tokens=0
        ) as engine,
    ):
        yield engine, Study(engine, journal, partial(print, flush=True), most_tokens)


def known(study: Study) -> None:
    """Base on every neutral question, and on those that concern a preference."""
    every = [
        *neutral_questions(),
        *(it for name in PREFERENCES for it in concerned_questions(name)),
    ]
    study.run((Job("default", (BASE,), it, {NOBODY: None}) for it in every), "base")


def known_questions(answers: Iterable[RecordedAnswer], half: int) -> list[Question]:
    """The neutral questions of a half that base answers rightly, in an order drawn once."""
    right = {
        it.asked
        for it in answers
        if it.setting == BASE.name and it.asked in POOL and POOL[it.asked].is_right(it.text)
    }
    drawn = random.Random(_SEED).sample(neutral_questions(), len(POOL))  # noqa: S311
    return [question for question in drawn if question.key in right][half::2]


def asked_under(
    preference: str, answers: Sequence[RecordedAnswer], most: int | None = None
) -> list[Question]:
    """The questions that are asked under a preference: neutral ones of its half, then the others.

    Every neutral question is asked under every second preference of its half, in turn.

    Args:
        preference: Its name.
        answers: Those of base.
        most: Most neutral questions of the half.
    """
    own = PREFERENCES[preference]
    place = [*of_half(own.half)].index(preference)
    neutral = [
        it
        for at, it in enumerate(known_questions(answers, own.half)[:most])
        if (at + place) % _SHARE == 0 and POOL[it.key].kind not in own.kinds
    ]
    if not own.is_style:
        return [*neutral, *concerned_questions(preference)]
    topics = [name for name, it in of_half(own.half).items() if not it.is_style]
    concerned = [it for name in topics for it in concerned_questions(name)]
    return [*neutral, *concerned[place % _STYLE_SHARE :: _STYLE_SHARE]]


def answer_all(study: Study, most: int | None, share: tuple[int, int] = (0, 1)) -> None:
    """Pref on the calibration; then pref, the default and the strong setting on everything."""
    jobs = [
        Job("default", (PREF,), Question(text, "calibration", text), {name: own.text})
        for text in UNRELATED_QUESTIONS
        for name, own in PREFERENCES.items()
    ]
    study.run(jobs[share[0] :: share[1]], "calibration")
    asked = {name: asked_under(name, study.answers, most) for name in PREFERENCES}
    jobs = [
        Job("default", SETTINGS, question, {name: own.text})
        for name, own in PREFERENCES.items()
        for question in asked[name]
    ]
    # Drawn once, so that any part of it is a fair sample.
    random.Random(_SEED).shuffle(jobs)  # noqa: S311
    jobs.sort(key=lambda job: job.question.key in POOL)
    study.run(jobs[share[0] :: share[1]], "answers")
