"""What strength gains and costs, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amulet_integrations.evaluation.reporting.tables import ScoreRow, ScoreTable, fewer
from amulet_integrations.evaluation.reporting.text_tables import (
    NOTHING,
    Cell,
    Group,
    TextTable,
    estimate_cell,
    number,
)
from amulet_integrations.evaluation.score_notes import note_of
from amulet_integrations.evaluation.trade_off import TradeOff


def trade_off_text(curve: TradeOff) -> TextTable:
    """The strengths with what they gain and cost; the recommended one is strong."""
    points = (curve.reference, *curve.strengths)
    rows = tuple(
        (
            Cell(point.method, strong=point is curve.recommended),
            estimate_cell(point.ratio, 3),
            estimate_cell(point.fluency, 3),
            Cell(number(point.fluency.mean - curve.reference.fluency.mean, 3, signed=True)),
        )
        for point in points
    )
    header = ("method", "preference ratio", "fluency", f"fluency beside {curve.reference.method}")
    return TextTable(
        f"Strengths, {curve.preference or 'all preferences'}",
        header,
        (Group("", rows),),
        caption=recommendation(curve),
    )


def strength_text(curves: Sequence[TradeOff], tables: Iterable[ScoreTable]) -> TextTable | None:
    """Every score's average over strengths, all preferences together; None without a curve.

    Args:
        curves: The first is over all preferences.
        tables: Of all answers.
    """
    if not curves:
        return None
    methods = [point.method for point in (curves[0].reference, *curves[0].strengths)]
    columns = [
        (note_of(table.score), {row.method: row for row in table.blocks[-1].rows})
        for table in tables
    ]
    rows = tuple(
        (
            Cell(method),
            *(_average(found.get(method), note.digits) for note, found in columns),
        )
        for method in methods
    )
    header = ("method", *(note.label.lower() for note, _ in columns))
    shares = (found[m].shares[-1] for _, found in columns for m in methods if m in found)
    return TextTable(
        "Every score by strength", header, (Group("", rows),), caption=" ".join(fewer(shares))
    )


def recommendation(curve: TradeOff) -> str:
    """What the curve recommends, in words."""
    allowed = f"{curve.allowance:g} nats per token of {curve.reference.method}'s"
    if curve.affordable is None:
        return (
            "No strength is recommended: already the weakest does not keep its fluency within "
            f"{allowed}."
        )
    if curve.recommended is None or curve.gain is None or curve.gain_kept is None:
        return (
            f"No strength is recommended: {curve.affordable.method} is the largest up to which "
            f"fluency stays within {allowed}, and gains nothing in preference ratio."
        )
    gain = number(curve.gain, 3, signed=True)
    return (
        f"Recommended: {curve.recommended.method}, the largest strength up to which fluency stays "
        f"within {allowed}. Its gain in preference ratio is {gain} nats per token, "
        f"{100 * curve.gain_kept:.0f}% of the largest."
    )


def _average(row: ScoreRow | None, digits: int) -> Cell:
    if row is None or row.average is None:
        return Cell(NOTHING)
    return Cell(number(row.average.mean, digits), str(row.shares[-1]))
