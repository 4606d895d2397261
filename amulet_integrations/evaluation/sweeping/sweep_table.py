"""The scores of a sweep in words and numbers, for terminals and pages."""

from __future__ import annotations

import math
from typing import NamedTuple

from amulet_integrations.evaluation.analysis.frontier import RELEVANCE_ALLOWANCE
from amulet_integrations.evaluation.data.record_types import BOUNDABLE, Answer
from amulet_integrations.evaluation.metrics.builtin_scores import (
    FLUENCY,
    PREF_NLL,
    PREFERENCE_RATIO,
    RELEVANCE,
    WORDS,
    note_of,
)
from amulet_integrations.evaluation.reporting.score_tables import FEWER_ANSWERS
from amulet_integrations.evaluation.reporting.text_tables import (
    NO_VALUE,
    Cell,
    Group,
    Row,
    TextTable,
    format_number,
)

from .strength_sweep import StrengthPoint, SweepData

SHOWN_SCORES = (PREFERENCE_RATIO, PREF_NLL, FLUENCY, RELEVANCE, WORDS)
"""What stands under each answer, as far as it was measured."""


_IN_NATS = {PREFERENCE_RATIO, PREF_NLL, FLUENCY}
_MOST_LABELS = 9
_LIMITED = {PREF_NLL: "pref NLL", RELEVANCE: "relevance"}
_FAR = 1.5  # nats between the least and the largest mean

LINEAR_WIDTH = 0.5
"""Where values are far apart, scales are like asinh: linear near 0, logarithmic past this."""

FAR_TICKS = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20)
"""The values on such a scale."""


class ScoreLimit(NamedTuple):
    """How far a score may go beside pref.

    Attributes:
        value: The last value that is within the limit.
        above: Whether values above it are past the limit, and not those below it.
    """

    value: float
    above: bool


def shown_scores(sweep: SweepData) -> list[str]:
    """Returns those of `SHOWN_SCORES` that at least one answer has."""
    return [score for score in SHOWN_SCORES if score in sweep.evaluation.score_names]


def score_text(score: str, value: float | None, digits: int = 2) -> str:
    """Returns a score as text with at most so many decimal places."""
    return NO_VALUE if value is None else format_number(value, min(digits, note_of(score).digits))


def answer_scores(answer: Answer, scores: list[str]) -> dict[str, str]:
    """Returns the scores of an answer as texts by their labels."""
    return {
        note_of(it).label: score_text(it, answer.scores.get(it), 0 if it == WORDS else 2)
        for it in scores
    }


def bound_text(point: StrengthPoint) -> str:
    """Returns the bound as text: "KL ≤ 0.1" or "no bound"; "" where there is nothing to bound."""
    if point.kind not in BOUNDABLE:
        return ""
    bound = point.strength.max_kl
    return "no bound" if bound is None else f"KL ≤ {bound:.3g}"


def past_limits(point: StrengthPoint) -> str:
    """Returns the names of the limits that a strength exceeds; "" where it exceeds none."""
    return ", ".join(limit.what for limit in point.missed)


def is_past_limit(point: StrengthPoint, score: str) -> bool:
    """Whether a strength exceeds the limit of a score."""
    return any(limit.what == _LIMITED.get(score) for limit in point.missed)


def coverage_note(sweep: SweepData) -> str:
    """Returns what notes beside means say; "" where every answer has all scores."""
    scores = shown_scores(sweep)
    found = [it.scores[score] for it in sweep.strengths for score in scores if score in it.scores]
    most = max((it.answers for it in sweep.strengths), default=0)
    return FEWER_ANSWERS if any(mean.values < most for mean in found) else ""


def sweep_table(sweep: SweepData) -> TextTable:
    """Returns the means of the scores by strength. The recommended strength is highlighted."""
    scores, several = shown_scores(sweep), len(sweep.cases()) > 1
    recommended = sweep.recommended

    def mean(score: str, point: StrengthPoint) -> Cell:
        digits = 0 if score == WORDS and not several else 3
        if score not in point.scores:
            return Cell(NO_VALUE)
        found = point.scores[score]
        fewer = f"{found.values} of {point.answers}" if found.values < point.answers else ""
        return Cell(score_text(score, found.mean, digits), fewer)

    def row(point: StrengthPoint) -> Row:
        bound = point.strength.max_kl
        is_judged = sweep.frontier is not None and point.kind in BOUNDABLE
        limits = past_limits(point) or ("none" if is_judged else NO_VALUE)
        return (
            Cell(point.label, strong=point is recommended),
            Cell(f"{point.strength.guidance_scale:.3g}"),
            Cell("none" if bound is None else f"{bound:.3g}"),
            *(mean(score, point) for score in scores),
            Cell(limits),
        )

    labels = (note_of(score).label for score in scores)
    return TextTable(
        "Means by strength" if several else "Scores by strength",
        ("strength", "scale", "max_kl", *map(_decapitalized, labels), "past its limits"),
        (Group("", tuple(map(row, sweep.strengths))),),
        caption=" ".join(filter(None, (sweep.recommendation, sweep.basis, coverage_note(sweep)))),
    )


def score_limit(sweep: SweepData, score: str) -> ScoreLimit | None:
    """Returns the limit that the recommended strength keeps in a score; None for no limit."""
    if sweep.frontier is None:
        return None
    reference = next(it for it in sweep.strengths if it.method == sweep.frontier.reference.method)
    if score not in reference.scores:
        return None
    mean = reference.scores[score].mean
    if score == PREF_NLL:
        return ScoreLimit(mean + sweep.allowance, above=True)
    return ScoreLimit(mean - RELEVANCE_ALLOWANCE, above=False) if score == RELEVANCE else None


def is_far_apart(sweep: SweepData, score: str) -> bool:
    """Whether a strength is so far off in a score that the others would look alike beside it."""
    means = [it.scores[score].mean for it in sweep.strengths if score in it.scores]
    return score in _IN_NATS and max(means) - min(means) > _FAR


def axis_labels(sweep: SweepData) -> list[str]:
    """Returns the names below a chart, one for each strength; "" where there is no room for one.

    The name of the recommended strength is always there.
    """
    every = math.ceil(len(sweep.strengths) / _MOST_LABELS)
    best = next((at for at, it in enumerate(sweep.strengths) if it is sweep.recommended), 0)
    return [
        point.label if (place - best) % every == 0 else ""
        for place, point in enumerate(sweep.strengths)
    ]


def _decapitalized(label: str) -> str:
    """A label within a line: "preference ratio", but "pref NLL"."""
    return label[0].lower() + label[1:]
