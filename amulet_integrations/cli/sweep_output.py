"""What comes of a sweep: the terminal's tables, the files, and the strength in a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.methods import points_of
from amulet_integrations.files import may_write_into
from amulet_integrations.profiles import Preference, PreferenceProfile
from amulet_integrations.profiles.stores.access import read_whole_profile

from . import terminal
from .columns import NARROWEST_COLUMN, AnswerColumn, side_by_side, titled
from .evaluate_report import show_table
from .options import strength_label
from .profile import group

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Answer, Method, StrengthPoint, Sweep
    from amulet_integrations.profiles import SqlProfileStore

_SHOWN_CASES = 3
_SHORT_LABELS = {"Preference ratio": "ratio"}  # in narrow columns


def check_output(*, html: Path | None, png: Path | None) -> None:
    """Refuses files that cannot be written.

    Raises:
        EvaluationError: There is no such folder, or it may not be written into.
        MissingDependencyError: matplotlib is not installed, and a PNG is wanted.
    """
    if png is not None:
        from amulet_integrations.evaluation.reporting.plots import check_plots  # noqa: PLC0415

        check_plots()
    for name, path in (("--html", html), ("--png", png)):
        if path is not None and (path.is_dir() or not may_write_into(path.absolute().parent)):
            raise EvaluationError(
                f"{name} {path}: it cannot be written there. Name a file in a folder that exists."
            )
    if html is not None and html == png:
        raise EvaluationError(f"--html and --png both name {html}. Give each a file of its own.")


def check_saving(user: str, methods: Iterable[Method]) -> None:
    """Refuses `--save` where there is nothing to choose from, or no such user could be.

    Raises:
        EvaluationError: At most one strength beside base and pref is compared.
        InvalidProfileError: The id cannot be that of a user.
    """
    PreferenceProfile(user_id=user)
    if len(points_of(methods)) < 2:  # noqa: PLR2004 - one leaves nothing to choose
        raise EvaluationError(
            "--save keeps the best of several strengths, and there is none to choose from. Give "
            "two or more besides 0 and 1, such as --guidance-scale 1.5,2,4."
        )


def show_sweep(sweep: Sweep) -> None:
    """Shows the answers side by side with their scores, and the table of all scores."""
    from amulet_integrations.evaluation.sweeping import sweep_table  # noqa: PLC0415 - brings numpy

    scores = sweep_table.shown_scores(sweep)
    points = {point.method: point for point in sweep.strengths}
    cases = sweep.cases()
    show = _show_columns if terminal.is_interactive() else _print_sections
    texts = {preference.name: preference.text for preference in sweep.evaluation.preferences}
    for case in cases[:_SHOWN_CASES]:
        _print(titled("Question", case[0].question))
        _print(titled("Preference", texts[case[0].preference]))
        show(
            [
                (points[answer.method], answer, sweep_table.answer_scores(answer, scores))
                for answer in case
            ],
            sweep.recommended,
        )
    if (left := len(cases) - _SHOWN_CASES) > 0:
        terminal.notice(f"{terminal.plural(left, 'further case')} not shown; --html has all.")
    show_table(sweep_table.sweep_table(sweep))


def write_files(
    sweep: Sweep, say: Callable[[str], None], *, html: Path | None, png: Path | None
) -> None:
    """Writes the page and the plot, as far as they are wanted, and says where they are.

    Raises:
        EvaluationError: One cannot be written.
    """
    if html is not None:
        say(f"The page: {sweep.save_html(html)}")
    if png is not None:
        say(f"The plot: {sweep.save_plot(png)}")


def save_strength(sweep: Sweep, store: SqlProfileStore, user: str) -> str:
    """Writes the recommended strength into a profile.

    A user without a profile gets one, with the preferences of the sweep. A strength that breaks
    more answers than `pref` is not saved, as in `amulet evaluate`.

    Returns:
        What was saved, or why nothing was.

    Raises:
        ProfileError: It cannot be stored.
    """
    point = sweep.recommended
    if point is None or not sweep.is_usable:
        why = "none is recommended" if point is None else f"{point.label} breaks more than pref"
        return f"No strength is saved for {user}: {why}."
    whole = read_whole_profile(store, user)
    swept = tuple(preference.text for preference in sweep.evaluation.preferences)

    def with_strength(before: PreferenceProfile) -> PreferenceProfile:
        update: dict[str, Any] = {}
        if whole is None and not before.preferences:
            update["preferences"] = tuple(Preference(text=text) for text in swept)
        elif whole is not None and whole.method is not None:
            update["method"] = "amulet"  # another one, also an inherited one, reads no scale
        return before.model_copy(update=update).with_strength(*point.strength)

    stored = store.update(user, with_strength, by=group.operator())
    held = {preference.text for preference in (stored if whole is None else whole).preferences}
    if not held.issuperset(swept):
        terminal.notice(
            f"The profile of {user} does not have the preference that was swept. To add it: "
            f'amulet profile add {user} --preference "…"'
        )
    return f"Saved {user}: {_strength_words(point.strength)}, version {stored.version}."


def _strength_words(strength: Preset) -> str:
    return f"guidance scale {strength_label(*strength)}"


def _print(text: Text) -> None:
    terminal.console().print(text)


Shown = list[tuple["StrengthPoint", "Answer", dict[str, str]]]


def _show_columns(case: Shown, recommended: StrengthPoint | None) -> None:
    console = terminal.console()
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
    scale, _, bound = strength_label(*point.strength).partition(", ")
    head.append(f"\nscale {scale}\n{bound}", style="not bold dim")
    foot = Table.grid(expand=True)
    foot.add_column()
    foot.add_column(justify="right")
    for label, value in scores.items():
        short = _SHORT_LABELS.get(label, label[0].lower() + label[1:])
        foot.add_row(Text(short, "not bold dim"), Text(value, "not bold"))
    return AnswerColumn(head, _text(answer), foot)


def _print_sections(case: Shown, recommended: StrengthPoint | None) -> None:
    typer.echo()
    for point, answer, scores in case:
        star = ", recommended" if point is recommended else ""
        typer.echo(f"--- {point.label} ({_strength_words(point.strength)}{star}) ---")
        typer.echo(str(_text(answer)))
        typer.echo(f"[{', '.join(f'{label} {value}' for label, value in scores.items())}]\n")


def _text(answer: Answer) -> Text:
    text = Text(terminal.safe(answer.text.strip()))
    if answer.finish_reason == "length":
        text.append(" …", style="dim")
    return text
