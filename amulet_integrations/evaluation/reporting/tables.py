"""The paper's table: a score by preference, method and data set, with averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.comparisons import mean_of
from amulet_integrations.evaluation.outcomes import Aim, aim_of
from amulet_integrations.evaluation.records import Answer
from amulet_integrations.evaluation.reporting.text_tables import (
    Cell,
    Group,
    TextTable,
    estimate_cell,
)
from amulet_integrations.evaluation.score_notes import note_of
from amulet_integrations.evaluation.statistics import Estimate

ALL = "all"
AVERAGE = "average"


@dataclass(frozen=True)
class ScoreRow:
    """A method's line in a table.

    Attributes:
        method: The method's name.
        cells: Its mean in each data set; None where no answer has the score.
        average: The mean of the data sets' means.
    """

    method: str
    cells: tuple[Estimate | None, ...]
    average: Estimate | None


@dataclass(frozen=True)
class ScoreBlock:
    """The methods under one preference.

    Attributes:
        preference: The preference's name; None for all of them together.
        rows: One for each method.
    """

    preference: str | None
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class ScoreTable:
    """A score by preference, method and data set.

    Attributes:
        score: The score's name.
        data_sets: Their names, in the order of the cells.
        blocks: One for each preference, and one for all where there are several.
    """

    score: str
    data_sets: tuple[str, ...]
    blocks: tuple[ScoreBlock, ...]


def score_table(answers: Sequence[Answer], score: str) -> ScoreTable:
    """Makes the table of a score. Orders are those in which names first appear in the answers."""
    data_sets = tuple(dict.fromkeys(answer.data_set for answer in answers))
    methods = tuple(dict.fromkeys(answer.method for answer in answers))
    preferences: list[str | None] = [*dict.fromkeys(answer.preference for answer in answers)]
    if len(preferences) > 1:
        preferences.append(None)

    grouped: dict[tuple[str, str | None], list[Answer]] = {}
    for answer in answers:
        for preference in (answer.preference, None):
            grouped.setdefault((answer.method, preference), []).append(answer)

    def row(method: str, preference: str | None) -> ScoreRow:
        held = grouped.get((method, preference), [])
        cells = tuple(mean_of([a for a in held if a.data_set == name], score) for name in data_sets)
        return ScoreRow(method, cells, mean_of(held, score))

    blocks = tuple(
        ScoreBlock(preference, tuple(row(method, preference) for method in methods))
        for preference in preferences
    )
    return ScoreTable(score, data_sets, blocks)


def score_text(table: ScoreTable) -> TextTable:
    """A score's table as text; the best of each column and preference is strong."""
    note = note_of(table.score)
    several = len(table.data_sets) > 1
    groups = []
    for block in table.blocks:
        columns = [[row.cells[at] for row in block.rows] for at in range(len(table.data_sets))] + [
            [row.average for row in block.rows]
        ] * several
        best = [_best(column, _sign(table.score, block.preference)) for column in columns]
        rows = tuple(
            (
                Cell(row.method),
                *(
                    estimate_cell(column[at], note.digits, strong=at in best[place])
                    for place, column in enumerate(columns)
                ),
            )
            for at, row in enumerate(block.rows)
        )
        groups.append(Group(block.preference or ALL, rows))
    header = ("method", *table.data_sets, *[AVERAGE] * several)
    return TextTable(note.label, header, tuple(groups), caption=note.meaning)


def outcome_text(answers: Sequence[Answer]) -> TextTable | None:
    """What preferences ask for and no method optimises: a column for each preference with an aim.

    Returns:
        The table; None where no preference has an aim that was measured.
    """
    columns: list[tuple[str, Aim, list[Estimate | None]]] = []
    unmeasured: list[str] = []
    methods = tuple(dict.fromkeys(answer.method for answer in answers))
    for preference in dict.fromkeys(answer.preference for answer in answers):
        aim = aim_of(preference)
        if aim is None:
            continue
        held = [answer for answer in answers if answer.preference == preference]
        means = [mean_of([a for a in held if a.method == m], aim.score) for m in methods]
        if any(means):
            columns.append((preference, aim, means))
        else:
            unmeasured.append(f" {note_of(aim.score).label} was not measured.")
    if not columns:
        return None
    best = [_best(means, aim.sign) for _, aim, means in columns]
    rows = tuple(
        (
            Cell(method),
            *(
                estimate_cell(means[at], note_of(aim.score).digits, strong=at in best[place])
                for place, (_, aim, means) in enumerate(columns)
            ),
        )
        for at, method in enumerate(methods)
    )
    header = (
        f"{name}: {aim.direction} {note_of(aim.score).label.lower()}" for name, aim, _ in columns
    )
    return TextTable(
        "What preferences ask for",
        ("method", *header),
        (Group("", rows),),
        caption="What can be counted of a preference, and is optimised by no method."
        + "".join(unmeasured),
    )


def _sign(score: str, preference: str | None) -> int:
    """1 where more is better, -1 where less is, 0 where neither is."""
    aim = aim_of(preference) if preference else None
    if aim is not None and aim.score == score:
        return aim.sign
    return {"higher": 1, "lower": -1, None: 0}[note_of(score).better]


def _best(column: Sequence[Estimate | None], sign: int) -> set[int]:
    """The places of the best means; of none where there is nothing to tell apart."""
    means = {at: found.mean for at, found in enumerate(column) if found is not None}
    if not sign or len(means) < 2:  # noqa: PLR2004 - one alone is not the best
        return set()
    pick: Callable[[Iterable[float]], float] = max if sign > 0 else min
    best = pick(means.values())
    chosen = {at for at, mean in means.items() if mean == best}
    return set() if len(chosen) == len(means) else chosen
