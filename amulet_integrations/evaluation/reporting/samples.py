"""Some answers of a run, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.likelihoods import FLUENCY, PREFERENCE_RATIO
from amulet_integrations.evaluation.records import Answer
from amulet_integrations.evaluation.reporting.text_tables import number
from amulet_integrations.evaluation.score_notes import REWARD, note_of
from amulet_integrations.evaluation.text_scores import WORDS

_QUESTIONS = 3  # of each preference
_METHODS = 6  # side by side
_SHOWN_SCORES = (REWARD, PREFERENCE_RATIO, FLUENCY, WORDS)


@dataclass(frozen=True)
class Sample:
    """The answers to one question under one preference.

    Attributes:
        preference: The preference's name.
        data_set: Where the question is from.
        question: Its text.
        answers: One of each method.
    """

    preference: str
    data_set: str
    question: str
    answers: tuple[Answer, ...]


def choose_samples(answers: Sequence[Answer]) -> list[Sample]:
    """Chooses questions spread over the run, the same ones for every preference."""
    methods = list(dict.fromkeys(answer.method for answer in answers))[:_METHODS]
    cases = {(a.preference, a.data_set, a.index, a.method): a for a in answers}
    questions = list(dict.fromkeys((answer.data_set, answer.index) for answer in answers))
    step = max(1, len(questions) // _QUESTIONS)
    samples = []
    for preference in dict.fromkeys(answer.preference for answer in answers):
        for data_set, index in questions[step // 2 :: step][:_QUESTIONS]:
            keys = [(preference, data_set, index, method) for method in methods]
            held = tuple(cases[key] for key in keys if key in cases)
            if held:
                samples.append(Sample(preference, data_set, held[0].question, held))
    return samples


def facts(answer: Answer) -> str:
    """An answer's main scores in a line."""
    return " · ".join(
        f"{note_of(score).label.lower()} {number(answer.scores[score], min(2, note.digits))}"
        if score != WORDS
        else f"{answer.scores[score]:.0f} words"
        for score in _SHOWN_SCORES
        if score in answer.scores
        for note in [note_of(score)]
    )
