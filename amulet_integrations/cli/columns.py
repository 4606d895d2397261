"""Answers side by side: a table that grows on a terminal, headed sections elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import typer
from rich.box import ROUNDED
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from amulet_integrations.decoding.strength import Method

from .stream_many import StreamedAnswer
from .terminal import one_line, plural, safe

METHOD_NAMES: dict[Method, Text] = {
    "base": Text("base", style="bold"),
    "pref": Text("pref", style="bold cyan"),
    "linear_alignment": Text("linear alignment", style="bold yellow"),
    "amulet": Text("Amulet", style="bold green"),
}
NARROWEST_COLUMN = 18
_TABLE_LINES = 8
"""Lines of a table other than the answers: title, frame, head, foot."""
_OTHER_LINES = 3
"""Question, legend, and the line of the cursor."""
_LEGEND = "scale p: p · log P(with the preference) + (1 - p) · log P(without it)"
_FEWEST_LINES = 3


class AnswerColumn(NamedTuple):
    """A column of a table of answers.

    Attributes:
        head: What stands above the answer.
        body: The answer.
        foot: What stands below it.
    """

    head: Text
    body: RenderableType
    foot: RenderableType


@dataclass(frozen=True)
class AnswerGroup:
    """Answers that stand side by side.

    Attributes:
        preference: The preference that they follow; None where they follow none.
        answers: One for each method.
    """

    preference: str | None
    answers: list[StreamedAnswer]


class ComparisonView:
    """The table of a comparison, drawn again as the answers grow.

    As long as any answer grows, each shows as much of the end of its text as fits the screen. Once
    all are done, they show everything.

    Args:
        question: The question.
        groups: The answers.
    """

    def __init__(self, question: str, groups: Sequence[AnswerGroup]) -> None:
        self._question = question
        self._groups = groups

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield titled("Question", self._question)
        tables = list(self._tables(max(1, options.max_width // NARROWEST_COLUMN)))
        lines = None
        if not all(answer.done for group in self._groups for answer in group.answers):
            spare = console.height - _OTHER_LINES - _TABLE_LINES * len(tables)
            lines = max(_FEWEST_LINES, spare // len(tables))
        for title, answers in tables:
            if title is not None:
                yield titled("Preference", title)
            yield _table(answers, lines)
        yield Text(_LEGEND, style="dim")

    def _tables(self, columns: int) -> Iterator[tuple[str | None, Sequence[StreamedAnswer]]]:
        for group in self._groups:
            for start in range(0, len(group.answers), columns):
                title = group.preference if start == 0 else None
                yield title, group.answers[start : start + columns]


def print_plain(question: str, groups: Sequence[AnswerGroup]) -> None:
    """Prints each answer under a heading, for output that is read by programs or later."""
    typer.echo(f"{titled('Question', question)}\n")
    for group in groups:
        if group.preference is not None:
            typer.echo(f"{titled('Preference', group.preference)}\n")
        for answer in group.answers:
            name = METHOD_NAMES[answer.method]
            typer.echo(f"--- {name} (guidance scale {answer.strength}, {_state(answer)}) ---")
            typer.echo(f"{_body(answer)}\n")


def side_by_side(columns: Sequence[AnswerColumn]) -> Table:
    """A table of answers, as wide as the terminal."""
    table = Table(box=ROUNDED, expand=True, show_footer=True, border_style="dim")
    for column in columns:
        table.add_column(column.head, column.foot, ratio=1, overflow="fold")
    table.add_row(*(column.body for column in columns))
    return table


def titled(title: str, text: str) -> Text:
    """A text on one line, after what it is."""
    return Text.assemble((f"{title}: ", "dim"), one_line(text))


def _table(answers: Sequence[StreamedAnswer], lines: int | None) -> Table:
    return side_by_side([_column(answer, lines) for answer in answers])


def _column(answer: StreamedAnswer, lines: int | None) -> AnswerColumn:
    head = METHOD_NAMES[answer.method].copy()
    # The bound stands below the scale, so that narrow columns look alike.
    scale, _, bound = answer.strength.partition(", ")
    head.append(f"\nscale {scale}\n{bound}", style="not bold dim")
    foot = Text(_state(answer), style="not bold dim")
    return AnswerColumn(head, _Tail(_body(answer), lines), foot)


def _body(answer: StreamedAnswer) -> Text:
    text = Text(safe(answer.text.strip()))
    if answer.error is None:
        return text
    error = Text(f"Error: {one_line(answer.error)}", style="red")
    return Text("\n").join([text, error]) if text else error


def _state(answer: StreamedAnswer) -> str:
    tokens = plural(answer.tokens, "token")
    if answer.error is not None:
        return f"{tokens}, failed"
    if answer.finish_reason == "length":
        return f"{tokens} (cut)"
    return tokens if answer.done else f"{tokens} …"


class _Tail:
    """The last lines of a text; None shows all."""

    def __init__(self, text: Text, lines: int | None) -> None:
        self._text = text
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wrapped = self._text.wrap(console, options.max_width, overflow="fold")
        shown = wrapped if self._lines is None else wrapped[-self._lines :]
        yield Text("\n").join(shown)
