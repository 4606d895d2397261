"""What guidance gains and costs, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.evaluation.analysis.frontier import Frontier, Limit, Point
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.reporting.tables import ScoreRow, ScoreTable, fewer
from amulet_integrations.evaluation.reporting.text_tables import (
    NOTHING,
    Cell,
    Group,
    TextTable,
    estimate_cell,
    number,
)


def frontier_text(frontier: Frontier) -> TextTable:
    """The points with what they gain and cost; the recommended one is strong."""
    recommended = frontier.recommended
    rows = tuple(
        (
            Cell(point.method, strong=point is recommended),
            Cell(f"{point.strength.guidance_scale:.3g}"),
            Cell(_bound(point.strength)),
            estimate_cell(point.gain, 3, signed=True),
            estimate_cell(point.cost, 3, signed=True),
            Cell(NOTHING)
            if point.relevance is None
            else estimate_cell(point.relevance, 3, signed=True),
            Cell(NOTHING if point.repeated is None else number(point.repeated, 3, signed=True)),
            Cell(str(point.broken)),
            Cell(NOTHING if point.held_back is None else f"{point.held_back.mean:.0%}"),
            Cell(_verdict(frontier, point)),
        )
        for point in (frontier.reference, *frontier.points)
    )
    header = (
        *("method", "guidance scale", "max_kl", "preference ratio", "pref NLL", "relevance"),
        *("repeated pairs", "broken answers", "tokens held back", "past its limits"),
    )
    beside = (
        "Preference ratio, pref NLL, relevance and repeated pairs are differences to "
        f"{frontier.reference.method}, over the cases that every point answered."
    )
    return TextTable(
        f"Frontier, {frontier.preference or 'all preferences'}",
        header,
        (Group("", rows),),
        caption=f"{recommendation(frontier)} {beside}",
    )


def strength_text(frontiers: Sequence[Frontier], tables: Iterable[ScoreTable]) -> TextTable | None:
    """Every score's average over strengths, all preferences together; None without a frontier.

    Args:
        frontiers: The first is over all preferences.
        tables: Of all answers.
    """
    if not frontiers:
        return None
    methods = [point.method for point in (frontiers[0].reference, *frontiers[0].points)]
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


def recommendation(frontier: Frontier) -> str:
    """What the frontier recommends, in words."""
    point = frontier.recommended
    beside = frontier.reference.method
    if point is None:
        return (
            f"Nothing is recommended: no point within the limits beside {beside} has a larger "
            f"preference ratio: {_rule(frontier, frontier.reference)}. {beside} itself is as good."
        )
    pair = f"guidance_scale={point.strength.guidance_scale:.4g}, max_kl={point.strength.max_kl}"
    gain = (
        f"Its preference ratio is {number(point.gain.mean, 3, signed=True)} nats per token beside "
        f"{beside}'s."
    )
    limits = _rule(frontier, point)
    missed = frontier.missed(point)
    if not missed:
        return (
            f"Recommended: {point.method} ({pair}), the largest preference ratio of the points "
            f"that keep all limits beside {beside}: {limits}. {gain}"
        )
    return (
        f"No point keeps all limits beside {beside}: {limits}. The one that misses least is "
        f"recommended: {point.method} ({pair}), past its limits in {_told(missed)}. {gain}"
    )


def _rule(frontier: Frontier, point: Point) -> str:
    """The limits, in words; those alone that were measured."""
    told = {
        "pref NLL": "pref NLL up by at most {:g} nats per token",
        "relevance": "relevance down by at most {:g}",
        "repeated pairs": "repeated pairs up by at most {:g}",
        "broken answers": "no more broken answers",
    }
    return ", ".join(told[limit.what].format(limit.allowed) for limit in frontier.limits(point))


def _told(missed: Iterable[Limit]) -> str:
    return ", ".join(
        f"{limit.what} ({'-' if limit.what == 'relevance' else '+'}{limit.found:.3g})"
        for limit in missed
    )


def _verdict(frontier: Frontier, point: Point) -> str:
    """What a point is past; nothing to tell of the reference."""
    if point is frontier.reference:
        return NOTHING
    return ", ".join(limit.what for limit in frontier.missed(point)) or "none"


def _bound(strength: Preset) -> str:
    return "none" if strength.max_kl is None else f"{strength.max_kl:g}"


def _average(row: ScoreRow | None, digits: int) -> Cell:
    if row is None or row.average is None:
        return Cell(NOTHING)
    return Cell(number(row.average.mean, digits), str(row.shares[-1]))
