"""What preferences ask for, beside what was optimised."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.metrics.target import Aim, aim_of
from amulet_integrations.evaluation.metrics.text_scores import WORDS
from amulet_integrations.evaluation.reporting.tables import (
    Share,
    best_places,
    fewer,
    measured_in,
)
from amulet_integrations.evaluation.reporting.text_tables import (
    Cell,
    Group,
    TextTable,
    estimate_cell,
)
from amulet_integrations.evaluation.runs.records import Answer, by_method


def outcome_text(answers: Sequence[Answer]) -> TextTable | None:
    """What preferences ask for and no method optimises: a column for each preference with an aim.

    Returns:
        The table; None where no preference has an aim that was measured.
    """
    aims = [
        (preference, aim)
        for preference in dict.fromkeys(answer.preference for answer in answers)
        if (aim := aim_of(preference)) is not None
    ]
    measured = {score for answer in answers for score in answer.scores}
    shown = [(preference, aim) for preference, aim in aims if aim.score in measured]
    if not shown:
        return None
    methods = [*by_method(answers)]
    columns = [_column(answers, methods, preference, aim) for preference, aim in shown]
    rows = tuple(
        (Cell(method), *(cell for cell, _ in held))
        for method, *held in zip(methods, *columns, strict=True)
    )
    header = (f"{name}: {aim.direction} {note_of(aim.score).label.lower()}" for name, aim in shown)
    missing = dict.fromkeys(aim.score for _, aim in aims if aim.score not in measured)
    caption = [
        "What can be counted of a preference, and is optimised by no method.",
        *(f"{note_of(score).label} was not measured." for score in missing),
        *fewer(share for column in columns for _, share in column),
        *_cut_off(answers, {name for name, aim in shown if aim.score == WORDS}),
    ]
    return TextTable(
        "What preferences ask for",
        ("method", *header),
        (Group("", rows),),
        caption=" ".join(caption),
    )


def _cut_off(answers: Sequence[Answer], preferences: Container[str]) -> Iterator[str]:
    """That answers end at the limit of tokens, where it matters how long they are."""
    counted = by_method([a for a in answers if a.preference in preferences])
    cut = {
        method: sum(answer.finish_reason == "length" for answer in held)
        for method, held in counted.items()
    }
    if any(cut.values()):
        told = ", ".join(f"{method} {cut[method]} of {len(counted[method])}" for method in cut)
        yield f"Answers cut off at the limit of tokens, whose words are too few: {told}."


def _column(
    answers: Sequence[Answer], methods: Sequence[str], preference: str, aim: Aim
) -> list[tuple[Cell, Share]]:
    """The methods' means, each with what it is of."""
    held = [
        [a for a in answers if a.preference == preference and a.method == method]
        for method in methods
    ]
    means = [mean_of(some, aim.score) for some in held]
    data_sets = measured_in((answer for some in held for answer in some), aim.score)
    shares = [Share.of(some, aim.score, data_sets) for some in held]
    best = best_places(means, aim.sign, shares)
    digits = note_of(aim.score).digits
    return [
        (estimate_cell(mean, digits, strong=at in best, beside=str(share)), share)
        for at, (mean, share) in enumerate(zip(means, shares, strict=True))
    ]
