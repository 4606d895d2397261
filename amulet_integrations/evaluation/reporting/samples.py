"""Some answers of a run, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.metrics.likelihoods import PREF_NLL, PREFERENCE_RATIO
from amulet_integrations.evaluation.metrics.reward_heads import REWARD
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.metrics.text_scores import WORDS
from amulet_integrations.evaluation.reporting.text_tables import number
from amulet_integrations.evaluation.runs.records import Answer, Method

_QUESTIONS = 3  # of each preference
_METHODS = 6  # side by side
_SHOWN_SCORES = (REWARD, PREFERENCE_RATIO, PREF_NLL, WORDS)


@dataclass(frozen=True)
class Sample:
    """The answers to one question under one preference.

    Attributes:
        preference: The preference's name.
        data_set: Where the question is from.
        question: Its text.
        answers: One of each method that is shown.
    """

    preference: str
    data_set: str
    question: str
    answers: tuple[Answer, ...]


def choose_samples(answers: Sequence[Answer], methods: Sequence[str]) -> list[Sample]:
    """Chooses questions spread over the run, the same ones for every preference.

    Args:
        answers: The answers of a run.
        methods: Whose answers are shown, in this order.
    """
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


def choose_methods(
    methods: Sequence[Method], recommended: str | None
) -> tuple[list[str], list[str]]:
    """Chooses whose answers stand side by side.

    Args:
        methods: Those that answered.
        recommended: The name of the recommended strength, where there is one.

    Returns:
        The names of those that are shown: without the preference, with it in the prompt, the first
        of Amulet, the recommended strength, and then others in their order; and of those that are
        left out.
    """
    first = [
        next((method.name for method in methods if method.kind == kind), None)
        for kind in ("base", "pref", "amulet")
    ]
    names = [method.name for method in methods]
    wanted = dict.fromkeys([*first, recommended, *names])
    ordered = [name for name in wanted if name in names]
    return ordered[:_METHODS], ordered[_METHODS:]


def facts(answer: Answer) -> str:
    """An answer's main scores in a line."""
    return " · ".join(
        _fact(score, answer.scores[score]) for score in _SHOWN_SCORES if score in answer.scores
    )


def _fact(score: str, value: float) -> str:
    if score == WORDS:
        return f"{value:.0f} words"
    note = note_of(score)
    return f"{note.label.lower()} {number(value, min(2, note.digits))}"
