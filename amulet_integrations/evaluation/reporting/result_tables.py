"""The tables of comparisons, of judged pairs, and of the frontier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amulet_integrations.evaluation.analysis.comparisons import Comparison
from amulet_integrations.evaluation.analysis.frontier import Frontier, Point
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.judging.win_counts import WinCount
from amulet_integrations.evaluation.metrics.builtin_scores import note_of

from .score_tables import ALL, ScoreTable, coverage_notes
from .text_tables import (
    NO_VALUE,
    Cell,
    Group,
    Row,
    TextTable,
    estimate_cell,
    format_number,
    format_p_value,
    group_rows,
)

_SIGNIFICANT = 0.05
_LIMITS = {
    "pref NLL": "pref NLL up by at most {:g} nats per token",
    "relevance": "relevance down by at most {:g}",
    "repeated pairs": "repeated pairs up by at most {:g}",
    "broken answers": "no more broken answers",
}


def comparison_text(comparisons: Sequence[Comparison]) -> TextTable | None:
    """Returns a table of differences, or None if there are none. Significant ones are bold."""
    if not comparisons:
        return None

    def row(one: Comparison) -> tuple[str, Row]:
        note = note_of(one.score)
        cells = (
            Cell(one.method),
            Cell(one.against),
            estimate_cell(one.difference, note.digits, strong=one.holm < _SIGNIFICANT, signed=True),
            Cell(str(one.difference.questions)),
            Cell(format_p_value(one.p_value)),
            Cell(format_p_value(one.holm)),
        )
        return f"{note.label}, {one.preference or 'all preferences'}", cells

    return TextTable(
        "Differences between methods",
        ("method", "against", "difference", "questions", "p", "p, corrected"),
        group_rows(map(row, comparisons)),
        labels=2,
        caption=(
            "Means over the questions that both methods answered. The p-value is that of a "
            "sign-flip permutation test with questions as the unit. All tests of one score in this "
            "table, of all pairs and under all preferences, are corrected together (Holm); "
            "differences with less than 0.05 after that are in bold."
        ),
    )


def win_text(counts: Sequence[WinCount]) -> TextTable | None:
    """Returns a table of wins, ties and losses by judge, or None if nothing was judged."""
    if not counts:
        return None
    judges = [*dict.fromkeys(count.judge for count in counts)]

    def row(count: WinCount) -> tuple[str, Row]:
        label = count.preference or ALL
        if len(judges) > 1:
            label = f"{label}, judged by {count.judge}"
        numbers = (count.wins, count.ties, count.losses, count.unread, count.unparsable)
        cells = (Cell(str(number)) for number in numbers)
        return label, (Cell(count.method), Cell(count.against), _percent(count.rate), *cells)

    alone = f"The judge is {judges[0]}. " if len(judges) == 1 and judges[0] else ""
    return TextTable(
        "Judged pairs",
        (
            *("method", "against", "win rate", "win", "tie", "lose", "no result"),
            "unreadable replies",
        ),
        group_rows(map(row, counts)),
        labels=2,
        caption=(
            f"{alone}Each pair was shown to the judge in both orders. Orders that disagree make a "
            "tie, and half of the ties count as won. A pair with a reply that could not be read "
            "has no result."
        ),
    )


def frontier_text(frontier: Frontier) -> TextTable:
    """Returns a table of what points gain and cost. The recommended point is highlighted."""
    recommended, reference = frontier.recommended, frontier.reference

    def row(point: Point) -> Row:
        scale, bound = point.strength
        repeated, held_back = point.repeated, point.held_back
        exceeded = ", ".join(limit.what for limit in frontier.missed(point)) or "none"
        return (
            Cell(point.method, strong=point is recommended),
            Cell(f"{scale:.3g}"),
            Cell("none" if bound is None else f"{bound:g}"),
            *(estimate_cell(it, signed=True) for it in (point.gain, point.cost, point.relevance)),
            Cell(NO_VALUE if repeated is None else format_number(repeated, 3, signed=True)),
            Cell(str(point.broken)),
            Cell(NO_VALUE if held_back is None else f"{held_back.mean:.0%}"),
            Cell(NO_VALUE if point is reference else exceeded),
        )

    header = (
        *("method", "guidance scale", "max_kl", "preference ratio", "pref NLL", "relevance"),
        *("repeated pairs", "broken answers", "tokens held back", "past its limits"),
    )
    return TextTable(
        f"Frontier, {frontier.preference or 'all preferences'}",
        header,
        (Group("", tuple(map(row, (reference, *frontier.points)))),),
        caption=(
            f"{recommendation(frontier)} Preference ratio, pref NLL, relevance and repeated pairs "
            f"are differences to {reference.method}, over the cases that every point answered."
        ),
    )


def strength_text(frontiers: Sequence[Frontier], tables: Iterable[ScoreTable]) -> TextTable | None:
    """Returns a table of every score's average over all preferences by strength.

    Args:
        frontiers: The first one is over all preferences.
        tables: The tables of all answers.

    Returns:
        The table, or None without a frontier.
    """
    if not frontiers:
        return None
    methods = [point.method for point in (frontiers[0].reference, *frontiers[0].points)]
    tables = list(tables)
    notes = [note_of(table.score) for table in tables]
    columns = [{row.method: row.average for row in table.blocks[-1].rows} for table in tables]

    def row(method: str) -> Row:
        cells = [Cell(method)]
        for note, column in zip(notes, columns, strict=True):
            mean = column.get(method)
            if mean is None or mean.estimate is None:
                cells.append(Cell(NO_VALUE))
            else:
                cells.append(Cell(format_number(mean.estimate.mean, note.digits), mean.note))
        return tuple(cells)

    means = (column[method] for column in columns for method in methods if method in column)
    return TextTable(
        "Every score by strength",
        ("method", *(note.label.lower() for note in notes)),
        (Group("", tuple(map(row, methods))),),
        caption=" ".join(coverage_notes(means)),
    )


def recommendation(frontier: Frontier) -> str:
    """Returns what the frontier recommends, in words."""
    point, reference = frontier.recommended, frontier.reference.method
    limits = ", ".join(
        _LIMITS[limit.what].format(limit.allowed)
        for limit in frontier.limits(point or frontier.reference)
    )
    if point is None:
        return (
            f"Nothing is recommended: no point within the limits beside {reference} has a larger "
            f"preference ratio: {limits}. {reference} itself is as good."
        )
    pair = f"guidance_scale={point.strength.guidance_scale:.4g}, max_kl={point.strength.max_kl}"
    gain = (
        f"Its preference ratio is {format_number(point.gain.mean, 3, signed=True)} nats per token "
        f"beside {reference}'s."
    )
    missed = frontier.missed(point)
    if not missed:
        return (
            f"Recommended: {point.method} ({pair}), the largest preference ratio of the points "
            f"that keep all limits beside {reference}: {limits}. {gain}"
        )
    exceeded = ", ".join(
        f"{limit.what} ({'-' if limit.what == 'relevance' else '+'}{limit.found:.3g})"
        for limit in missed
    )
    return (
        f"No point keeps all limits beside {reference}: {limits}. The one that misses least is "
        f"recommended: {point.method} ({pair}), past its limits in {exceeded}. {gain}"
    )


def _percent(rate: Estimate | None) -> Cell:
    if rate is None:
        return Cell(NO_VALUE)
    interval = "" if rate.low is None else f"[{rate.low:.0%}, {rate.high:.0%}]"
    return Cell(f"{rate.mean:.0%}", interval)
