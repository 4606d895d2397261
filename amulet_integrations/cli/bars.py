"""How far an evaluation has come: a bar for each stage, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import progress as rich_progress
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from amulet_integrations.cli import screen

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Progress


_WORK = 10_000  # what a whole bar stands for
_MEASURED_OVER = 3600.0  # seconds: with large models one answer after another takes a minute


class Bars:
    """Shows progress while it is entered: bars on a terminal, and a line for each stage elsewhere.

    The bars count work and not answers, since answers cost more by some methods than by others.

    Args:
        get_time: The clock, in seconds; None takes the system's.
    """

    def __init__(self, get_time: Callable[[], float] | None = None) -> None:
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._bars = rich_progress.Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=screen.terminal(),
            speed_estimate_period=_MEASURED_OVER,
            get_time=get_time,
            disable=not screen.is_terminal(),
        )

    def __call__(self, progress: Progress) -> None:
        """Shows how far a stage has come."""
        count = f"{progress.done}/{progress.total}"
        if progress.stage in self._tasks:
            task = self._tasks[progress.stage]
            self._bars.update(task, completed=progress.share * _WORK, count=count)
            return
        name = screen.one_line(progress.stage)
        # What was done before begins the bar and is no part of its speed.
        self._tasks[progress.stage] = self._bars.add_task(
            name, total=_WORK, completed=round(progress.share * _WORK), count=count
        )
        if self._bars.disable:
            kept = f", {progress.done} of them kept" if progress.done else ""
            screen.notice(f"{name}: {progress.total}{kept} …")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()
