"""What `amulet sweep` shows: answers side by side with their scores, and a table of all."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from amulet_integrations.cli import terminal
from amulet_integrations.cli.columns import NARROWEST_COLUMN, AnswerColumn, side_by_side, titled
from amulet_integrations.evaluation import Answer, StrengthPoint, Sweep
from amulet_integrations.evaluation.sweeping import sweep_table

from .evaluate_report import show_table
from .sweep_output import strength_words

_SHOWN_CASES = 3
_SHORT_LABELS = {"Preference ratio": "ratio"}  # in narrow columns

Shown = list[tuple[StrengthPoint, Answer, dict[str, str]]]
"""The answers of a case, each with its strength and its scores as texts."""


def show_sweep(sweep: Sweep) -> None:
    """Shows the answers side by side with their scores, and the table of all scores."""
    scores = sweep_table.shown_scores(sweep)
    points = {point.method: point for point in sweep.strengths}
    cases = sweep.cases()
    show = _show_columns if terminal.is_interactive() else _print_sections
    texts = {preference.name: preference.text for preference in sweep.evaluation.preferences}
    for case in cases[:_SHOWN_CASES]:
        question = titled("Question", case[0].question)
        preference = titled("Preference", texts[case[0].preference])
        scored = [
            (points[answer.method], answer, sweep_table.answer_scores(answer, scores))
            for answer in case
        ]
        show(Text("\n").join([question, preference]), scored, sweep.recommended)
    if (left := len(cases) - _SHOWN_CASES) > 0:
        terminal.notice(f"{terminal.plural(left, 'further case')} not shown; the page has all.")
    show_table(sweep_table.sweep_table(sweep))


def _show_columns(title: Text, case: Shown, recommended: StrengthPoint | None) -> None:
    console = terminal.console()
    console.print(title)
    most = max(1, console.width // NARROWEST_COLUMN)
    rows = -(-len(case) // most)
    columns = -(-len(case) // rows)
    for start in range(0, len(case), columns):
        console.print(
            side_by_side(
                [
                    _column(*shown, best=shown[0] is recommended)
                    for shown in case[start : start + columns]
                ]
            )
        )


def _column(
    point: StrengthPoint, answer: Answer, scores: dict[str, str], *, best: bool
) -> AnswerColumn:
    head = Text(f"★ {point.label}" if best else point.label, "bold green" if best else "bold")
    scale = terminal.short_number(point.strength.guidance_scale)
    head.append(f"\nscale {scale}\n{sweep_table.bound_text(point)}", style="not bold dim")
    foot = Table.grid(expand=True)
    foot.add_column()
    foot.add_column(justify="right")
    for label, value in scores.items():
        short = _SHORT_LABELS.get(label, label[0].lower() + label[1:])
        foot.add_row(Text(short, "not bold dim"), Text(value, "not bold"))
    return AnswerColumn(head, _text(answer), foot)


def _print_sections(title: Text, case: Shown, recommended: StrengthPoint | None) -> None:
    typer.echo(f"{title}\n")
    for point, answer, scores in case:
        star = ", recommended" if point is recommended else ""
        typer.echo(f"--- {point.label} ({strength_words(point.strength)}{star}) ---")
        typer.echo(str(_text(answer)))
        typer.echo(f"[{', '.join(f'{label} {value}' for label, value in scores.items())}]\n")


def _text(answer: Answer) -> Text:
    text = Text(terminal.safe(answer.text.strip()))
    if answer.finish_reason == "length":
        text.append(" …", style="dim")
    return text
