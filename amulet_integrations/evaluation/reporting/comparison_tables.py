"""How methods differ: in their scores, and in what a judge said of them."""

from __future__ import annotations

from collections.abc import Iterable

from amulet_integrations.evaluation.analysis.comparisons import Comparison
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.judging.judge import WinCount
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.reporting.judges import by_judge
from amulet_integrations.evaluation.reporting.tables import ALL
from amulet_integrations.evaluation.reporting.text_tables import (
    NOTHING,
    Cell,
    Group,
    TextTable,
    estimate_cell,
    p_value,
)


def comparison_text(comparisons: Iterable[Comparison]) -> TextTable | None:
    """Differences between methods; None where there are none. Clear ones are strong."""
    found = list(comparisons)
    if not found:
        return None
    groups: dict[str, list[tuple[Cell, ...]]] = {}
    for one in found:
        note = note_of(one.score)
        label = f"{note.label}, {one.preference or 'all preferences'}"
        clear = one.holm < 0.05  # noqa: PLR2004 - the usual level
        cells = (
            Cell(one.method),
            Cell(one.against),
            estimate_cell(one.difference, note.digits, strong=clear, signed=True),
            Cell(str(one.difference.questions)),
            Cell(p_value(one.p_value)),
            Cell(p_value(one.holm)),
        )
        groups.setdefault(label, []).append(cells)
    return TextTable(
        "Differences between methods",
        ("method", "against", "difference", "questions", "p", "p, corrected"),
        tuple(Group(label, tuple(rows)) for label, rows in groups.items()),
        labels=2,
        caption=(
            "Means over the questions that both methods answered. The p-value is that of a "
            "sign-flip permutation test with questions as the unit. All tests of one score in this "
            "table, of all pairs and under all preferences, are corrected together (Holm); "
            "differences with less than 0.05 after that are in bold."
        ),
    )


def win_text(counts: Iterable[WinCount]) -> TextTable | None:
    """Wins, ties and losses, of each judge apart; None where nothing was judged."""
    found = list(counts)
    judges = [*by_judge(found)]
    groups: dict[str, list[tuple[Cell, ...]]] = {}
    for count in found:
        shown = (count.wins, count.ties, count.losses, count.unread, count.unparsable)
        cells = (
            Cell(count.method),
            Cell(count.against),
            _percent(count.rate),
            *(Cell(str(held)) for held in shown),
        )
        label = count.preference or ALL
        if len(judges) > 1:
            label = f"{label}, judged by {count.judge}"
        groups.setdefault(label, []).append(cells)
    if not groups:
        return None
    alone = f"The judge is {judges[0]}. " if len(judges) == 1 and judges[0] else ""
    return TextTable(
        "Judged pairs",
        (
            *("method", "against", "win rate", "win", "tie", "lose", "no result"),
            "unreadable replies",
        ),
        tuple(Group(label, tuple(rows)) for label, rows in groups.items()),
        labels=2,
        caption=(
            f"{alone}Each pair was shown to the judge in both orders. Orders that disagree make a "
            "tie, and half of the ties count as won. A pair with a reply that could not be read "
            "has no result."
        ),
    )


def _percent(rate: Estimate | None) -> Cell:
    if rate is None:
        return Cell(NOTHING)
    if rate.low is None or rate.high is None:
        return Cell(f"{rate.mean:.0%}")
    return Cell(f"{rate.mean:.0%}", f"[{rate.low:.0%}, {rate.high:.0%}]")
