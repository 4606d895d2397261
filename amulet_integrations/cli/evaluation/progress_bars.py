"""The progress of an evaluation: a bar for each stage, with the time that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich import progress as rich_progress
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from amulet_integrations.cli import terminal

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Progress


_TOTAL_WORK = 10_000  # of a whole bar
_SPEED_PERIOD = 3600.0  # seconds: with large models one answer after another takes a minute


class ProgressBars:
    """Shows progress while it is entered: bars on a terminal, and a line for each stage elsewhere.

    The bars measure work and not answers, since some methods cost more for an answer than others.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._bars = rich_progress.Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=terminal.console(),
            speed_estimate_period=_SPEED_PERIOD,
            disable=not terminal.is_interactive(),
        )

    def __call__(self, progress: Progress) -> None:
        """Shows the progress of a stage."""
        count = f"{progress.done}/{progress.total}"
        if progress.stage in self._tasks:
            task = self._tasks[progress.stage]
            self._bars.update(task, completed=progress.share * _TOTAL_WORK, count=count)
            return
        name = terminal.one_line(progress.stage)
        # What was done in an earlier run starts the bar, and does not count for its speed.
        self._tasks[progress.stage] = self._bars.add_task(
            name, total=_TOTAL_WORK, completed=round(progress.share * _TOTAL_WORK), count=count
        )
        if self._bars.disable:
            kept = f", {progress.done} of them kept" if progress.done else ""
            terminal.notice(f"{name}: {progress.total}{kept} …")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()
