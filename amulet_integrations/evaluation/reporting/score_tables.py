"""The tables of the paper: a score by preference, method and data set, with averages."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.data.record_types import Answer, by_method
from amulet_integrations.evaluation.metrics.builtin_scores import TARGETS, WORDS, note_of

from .text_tables import Cell, Group, TextTable, estimate_cell

ALL = "all"
AVERAGE = "average"

FEWER_ANSWERS = "Where some answers have no such score, a note shows of how many the mean is."
_FEWER_DATA_SETS = (
    "A mean that lacks a data set which other methods have is marked (in pictures it is a hollow "
    "dot), and is not compared with theirs."
)


class ScoreMean(NamedTuple):
    """The mean of a score, and how many answers and data sets it covers.

    Attributes:
        estimate: The mean; None if no answer has the score.
        measured: The number of answers with the score.
        answers: The number of answers.
        data_sets: The number of data sets in which answers have the score.
        all_data_sets: The number of data sets in which answers of any method have the score.
    """

    estimate: Estimate | None
    measured: int
    answers: int
    data_sets: int
    all_data_sets: int

    @classmethod
    def of(cls, answers: Sequence[Answer], score: str, data_sets: Collection[str]) -> ScoreMean:
        """Computes the mean.

        Args:
            answers: The answers of a method.
            score: The name of the score.
            data_sets: The data sets in which answers of any method have the score.
        """
        found = [answer.data_set for answer in answers if score in answer.scores]
        mean = mean_of(answers, score)
        return cls(mean, len(found), len(answers), len(set(found)), len(data_sets))

    @property
    def is_complete(self) -> bool:
        """Whether no data set is missing, so that the mean can be compared with other means."""
        return self.data_sets == self.all_data_sets

    @property
    def note(self) -> str:
        """How many answers and data sets the mean covers; "" if it covers all."""
        parts = []
        if self.measured != self.answers:
            parts.append(f"{self.measured} of {self.answers}")
        if not self.is_complete:
            parts.append(f"{self.data_sets} of {self.all_data_sets} data sets")
        return ", ".join(parts)


@dataclass(frozen=True)
class ScoreRow:
    """A row of a table.

    Attributes:
        method: The name of the method.
        means: The mean in each data set.
        average: The mean of the data sets' means.
    """

    method: str
    means: tuple[ScoreMean, ...]
    average: ScoreMean


@dataclass(frozen=True)
class ScoreBlock:
    """The rows of a preference.

    Attributes:
        preference: The name of the preference; None for all of them together.
        rows: One row for each method.
    """

    preference: str | None
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class ScoreTable:
    """A score by preference, method and data set.

    Attributes:
        score: The name of the score.
        data_sets: The names of the data sets, in the order of a row's means.
        blocks: One block for each preference, and one for all if there are several.
    """

    score: str
    data_sets: tuple[str, ...]
    blocks: tuple[ScoreBlock, ...]


def score_table(answers: Sequence[Answer], score: str) -> ScoreTable:
    """Makes the table of a score. Names are in the order in which they first appear in answers."""
    data_sets = tuple(dict.fromkeys(answer.data_set for answer in answers))
    methods = tuple(by_method(answers))
    preferences: list[str | None] = [*dict.fromkeys(answer.preference for answer in answers)]
    if len(preferences) > 1:
        preferences.append(None)

    def block(preference: str | None) -> ScoreBlock:
        chosen = [answer for answer in answers if preference in {None, answer.preference}]
        measured = {answer.data_set for answer in chosen if score in answer.scores}
        groups = by_method(chosen)
        rows = []
        for method in methods:
            own = groups.get(method, [])
            parts = {name: [it for it in own if it.data_set == name] for name in data_sets}
            means = (ScoreMean.of(part, score, measured & {name}) for name, part in parts.items())
            rows.append(ScoreRow(method, tuple(means), ScoreMean.of(own, score, measured)))
        return ScoreBlock(preference, tuple(rows))

    return ScoreTable(score, data_sets, tuple(map(block, preferences)))


def score_text(table: ScoreTable) -> TextTable:
    """Returns a score's table as text. The best of each column and preference is highlighted."""
    note = note_of(table.score)
    has_average = len(table.data_sets) > 1
    groups, means = [], list[ScoreMean]()
    for block in table.blocks:
        target = TARGETS.get(block.preference or "")
        sign = target.sign if target is not None and target.score == table.score else note.sign
        rows = [(*row.means, *[row.average] * has_average) for row in block.rows]
        columns = [_column(column, sign, note.digits) for column in zip(*rows, strict=True)]
        means += [mean for row in block.rows for mean in (*row.means, row.average)]
        methods = [Cell(row.method) for row in block.rows]
        groups.append(Group(block.preference or ALL, tuple(zip(methods, *columns, strict=True))))
    header = ("method", *table.data_sets, *[AVERAGE] * has_average)
    caption = " ".join([note.meaning, *coverage_notes(means)])
    return TextTable(note.label, header, tuple(groups), caption=caption)


def outcome_text(answers: Sequence[Answer]) -> TextTable | None:
    """Returns a table of what preferences ask for and no method optimises.

    Returns:
        The table, with a column for each preference that has a target; None if no target was
        measured.
    """
    preferences = dict.fromkeys(answer.preference for answer in answers)
    targets = {name: TARGETS[name] for name in preferences if name in TARGETS}
    measured = {score for answer in answers for score in answer.scores}
    shown = {name: target for name, target in targets.items() if target.score in measured}
    if not shown:
        return None
    methods = [*by_method(answers)]
    header, columns, means = ["method"], [], list[ScoreMean]()
    for name, target in shown.items():
        own = [answer for answer in answers if answer.preference == name]
        data_sets = {answer.data_set for answer in own if target.score in answer.scores}
        groups = by_method(own)
        column = [ScoreMean.of(groups.get(it, []), target.score, data_sets) for it in methods]
        note = note_of(target.score)
        header.append(f"{name}: {target.direction} {note.label.lower()}")
        columns.append(_column(column, target.sign, note.digits))
        means += column
    missing = dict.fromkeys(it.score for it in targets.values() if it.score not in measured)
    caption = [
        "What can be counted of a preference, and is optimised by no method.",
        *(f"{note_of(score).label} was not measured." for score in missing),
        *coverage_notes(means),
        *_cut_off(answers, [name for name, target in shown.items() if target.score == WORDS]),
    ]
    rows = tuple(zip(map(Cell, methods), *columns, strict=True))
    group = Group("", rows)
    return TextTable("What preferences ask for", tuple(header), (group,), caption=" ".join(caption))


def coverage_notes(means: Iterable[ScoreMean]) -> list[str]:
    """Returns the sentences of a caption about means that do not cover all answers."""
    means = list(means)
    notes = [FEWER_ANSWERS] if any(it.measured != it.answers for it in means) else []
    incomplete = any(0 < it.data_sets < it.all_data_sets for it in means)
    return [*notes, *[_FEWER_DATA_SETS] * incomplete]


def _column(means: Sequence[ScoreMean], sign: int, digits: int) -> list[Cell]:
    """Returns the cells of a column, with the best means highlighted.

    A mean that lacks a data set is not compared with the others, and is never highlighted.

    Args:
        means: The means.
        sign: 1 if higher is better, -1 if lower is better, 0 if neither is.
        digits: The number of decimal places.
    """
    compared = [it.estimate.mean * sign if it.estimate and it.is_complete else None for it in means]
    values = {value for value in compared if value is not None}
    best = max(values) if sign and len(values) > 1 else math.nan
    return [
        estimate_cell(mean.estimate, digits, strong=value == best, note=mean.note)
        for mean, value in zip(means, compared, strict=True)
    ]


def _cut_off(answers: Sequence[Answer], preferences: Collection[str]) -> list[str]:
    """Returns the sentence about answers that reached the limit of tokens, if there are some."""
    groups = by_method(answer for answer in answers if answer.preference in preferences)
    counts = {
        method: sum(answer.finish_reason == "length" for answer in group)
        for method, group in groups.items()
    }
    if not any(counts.values()):
        return []
    shares = ", ".join(f"{name} {count} of {len(groups[name])}" for name, count in counts.items())
    return [f"Answers cut off at the limit of tokens, whose words are too few: {shares}."]
