"""The scores of a sweep in words and numbers, for terminals and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.evaluation.analysis.frontier import RELEVANCE_ALLOWANCE
from amulet_integrations.evaluation.data.record_types import Answer
from amulet_integrations.evaluation.metrics.builtin_scores import (
    FLUENCY,
    PREF_NLL,
    PREFERENCE_RATIO,
    RELEVANCE,
    WORDS,
    note_of,
)
from amulet_integrations.evaluation.reporting.text_tables import (
    NO_VALUE,
    Cell,
    Group,
    Row,
    TextTable,
    format_number,
)

from .strength_sweep import StrengthPoint, Sweep

SHOWN_SCORES = (PREFERENCE_RATIO, PREF_NLL, FLUENCY, RELEVANCE, WORDS)
"""What stands under each answer, as far as it was measured."""


_IN_NATS = {PREFERENCE_RATIO, PREF_NLL, FLUENCY}
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


def shown_scores(sweep: Sweep) -> list[str]:
    """Returns those of `SHOWN_SCORES` that at least one answer has."""
    return [score for score in SHOWN_SCORES if score in sweep.evaluation.score_names]


def score_text(score: str, value: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """Returns a score as text. Words are whole numbers where they are those of one answer."""
    if value is None:
        return NO_VALUE
    if score == WORDS and value == round(value):
        digits = 0
    return format_number(value, min(digits, note_of(score).digits), signed=signed)


def answer_scores(answer: Answer, scores: list[str]) -> dict[str, str]:
    """Returns the scores of an answer as texts by their labels."""
    return {note_of(it).label: score_text(it, answer.scores.get(it)) for it in scores}


def bound_text(strength: Preset) -> str:
    """Returns the bound as text: "KL ≤ 0.1" or "no bound"."""
    return "no bound" if strength.max_kl is None else f"KL ≤ {strength.max_kl:.3g}"


def past_limits(point: StrengthPoint) -> str:
    """Returns the names of the limits that a strength exceeds; "" where it exceeds none."""
    return ", ".join(limit.what for limit in point.missed)


def sweep_table(sweep: Sweep) -> TextTable:
    """Returns the means of the scores by strength. The recommended strength is highlighted."""
    scores = shown_scores(sweep)
    recommended = sweep.recommended

    def row(point: StrengthPoint) -> Row:
        means: Mapping[str, float] = {name: mean.mean for name, mean in point.scores.items()}
        bound = point.strength.max_kl
        limits = past_limits(point) or ("none" if point.method.startswith("amulet") else NO_VALUE)
        return (
            Cell(point.label, strong=point is recommended),
            Cell(f"{point.strength.guidance_scale:.3g}"),
            Cell("none" if bound is None else f"{bound:.3g}"),
            *(Cell(score_text(score, means.get(score), digits=3)) for score in scores),
            Cell(limits),
        )

    labels = (note_of(score).label for score in scores)
    return TextTable(
        "Means by strength" if len(sweep.cases()) > 1 else "Scores by strength",
        ("strength", "scale", "max_kl", *map(_decapitalized, labels), "past its limits"),
        (Group("", tuple(map(row, sweep.strengths))),),
        caption=f"{sweep.recommendation} {sweep.basis}".rstrip(),
    )


def score_limit(sweep: Sweep, score: str) -> ScoreLimit | None:
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


def is_far_apart(sweep: Sweep, score: str) -> bool:
    """Whether a strength is so far off in a score that the others would look alike beside it."""
    means = [it.scores[score].mean for it in sweep.strengths if score in it.scores]
    return score in _IN_NATS and max(means) - min(means) > _FAR


def _decapitalized(label: str) -> str:
    """A label within a line: "preference ratio", but "pref NLL"."""
    return label[0].lower() + label[1:]
