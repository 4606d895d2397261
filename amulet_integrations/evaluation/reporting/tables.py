"""The paper's table: a score by preference, method and data set, with averages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.metrics.target import aim_of
from amulet_integrations.evaluation.reporting.text_tables import (
    Cell,
    Group,
    TextTable,
    estimate_cell,
)
from amulet_integrations.evaluation.runs.records import Answer

ALL = "all"
AVERAGE = "average"
FEWER = "Where some answers have no such score, it says of how many the mean is."
INCOMPLETE = (
    "A mean that lacks a data set which other methods have says so (in pictures it is a hollow "
    "dot), and is not compared with theirs."
)


class Share(NamedTuple):
    """Of how many answers, and of how many data sets, a mean is.

    Attributes:
        measured: How many answers have the score.
        answers: How many there are.
        data_sets: In how many data sets answers have it.
        all_data_sets: In how many those of any method have it.
    """

    measured: int
    answers: int
    data_sets: int
    all_data_sets: int

    @classmethod
    def of(cls, answers: Sequence[Answer], score: str, data_sets: Collection[str]) -> Share:
        """Counts them; `data_sets` are those in which answers of any method have the score."""
        measured = [answer for answer in answers if score in answer.scores]
        there = {answer.data_set for answer in measured}
        return cls(len(measured), len(answers), len(there), len(data_sets))

    @property
    def whole(self) -> bool:
        """Whether no data set is missing, so that the mean can be compared with others."""
        return self.data_sets == self.all_data_sets

    def __str__(self) -> str:
        """What stands beside the mean; nothing where it is of all."""
        parts = []
        if self.measured != self.answers:
            parts.append(f"{self.measured} of {self.answers}")
        if not self.whole:
            parts.append(f"{self.data_sets} of {self.all_data_sets} data sets")
        return ", ".join(parts)


def fewer(shares: Iterable[Share]) -> list[str]:
    """What a caption says of means that are not of all."""
    found = list(shares)
    said = [FEWER] if any(share.measured != share.answers for share in found) else []
    return said + ([INCOMPLETE] if any(0 < s.data_sets < s.all_data_sets for s in found) else [])


def measured_in(answers: Iterable[Answer], score: str) -> set[str]:
    """The data sets in which some answer has the score."""
    return {answer.data_set for answer in answers if score in answer.scores}


@dataclass(frozen=True)
class ScoreRow:
    """A method's line in a table.

    Attributes:
        method: The method's name.
        cells: Its mean in each data set; None where no answer has the score.
        average: The mean of the data sets' means.
        shares: Of how many answers each of the cells is, and the average last.
    """

    method: str
    cells: tuple[Estimate | None, ...]
    average: Estimate | None
    shares: tuple[Share, ...]


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

    measured = {
        preference: measured_in(
            (answer for answer in answers if preference in {None, answer.preference}), score
        )
        for preference in preferences
    }

    def row(method: str, preference: str | None) -> ScoreRow:
        held = grouped.get((method, preference), [])
        there = measured[preference]
        parts = [[a for a in held if a.data_set == name] for name in data_sets]
        return ScoreRow(
            method,
            tuple(mean_of(part, score) for part in parts),
            mean_of(held, score),
            (
                *(
                    Share.of(part, score, there & {name})
                    for name, part in zip(data_sets, parts, strict=True)
                ),
                Share.of(held, score, there),
            ),
        )

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
        best = [
            best_places(
                column,
                _sign(table.score, block.preference),
                [row.shares[place] for row in block.rows],
            )
            for place, column in enumerate(columns)
        ]
        rows = tuple(
            (
                Cell(row.method),
                *(
                    estimate_cell(
                        column[at],
                        note.digits,
                        strong=at in best[place],
                        beside=str(row.shares[place]),
                    )
                    for place, column in enumerate(columns)
                ),
            )
            for at, row in enumerate(block.rows)
        )
        groups.append(Group(block.preference or ALL, rows))
    header = ("method", *table.data_sets, *[AVERAGE] * several)
    shares = (share for block in table.blocks for row in block.rows for share in row.shares)
    caption = " ".join([note.meaning, *fewer(shares)])
    return TextTable(note.label, header, tuple(groups), caption=caption)


def best_places(column: Sequence[Estimate | None], sign: int, shares: Sequence[Share]) -> set[int]:
    """The places of the best means; of none where there is nothing to tell apart.

    Args:
        column: The means.
        sign: 1 where more is better, -1 where less is, 0 where neither is.
        shares: Of what each of them is. One that lacks a data set is neither the best, nor does
            it keep another from being it.
    """
    means = {
        at: found.mean
        for at, (found, share) in enumerate(zip(column, shares, strict=True))
        if found is not None and share.whole
    }
    if not sign or len(means) < 2:  # noqa: PLR2004 - one alone is not the best
        return set()
    pick: Callable[[Iterable[float]], float] = max if sign > 0 else min
    best = pick(means.values())
    chosen = {at for at, mean in means.items() if mean == best}
    return set() if len(chosen) == len(means) else chosen


def _sign(score: str, preference: str | None) -> int:
    """1 where more is better, -1 where less is, 0 where neither is."""
    aim = aim_of(preference) if preference else None
    if aim is not None and aim.score == score:
        return aim.sign
    return {"higher": 1, "lower": -1, None: 0}[note_of(score).better]
