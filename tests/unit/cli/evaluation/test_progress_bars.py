"""The bars of an evaluation show the time left, whatever the pace."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from amulet_integrations.cli import terminal
from amulet_integrations.cli.evaluation.progress_bars import ProgressBars
from amulet_integrations.evaluation import Progress


class Clock:
    """A clock that goes on only when it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "left"), [(0.5, "0:00:03"), (40.0, "0:04:00"), (600.0, "1:00:00")]
)
def test_the_time_left_is_shown_also_where_answers_are_rare(
    monkeypatch: pytest.MonkeyPatch, seconds: float, left: str
) -> None:
    held = io.StringIO()
    clock = Clock()
    console = Console(file=held, force_terminal=True, width=100, get_time=clock)
    monkeypatch.setattr(terminal, "console", lambda: console)
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    with ProgressBars() as bars:
        for done in range(5):
            bars(Progress("answers", done, 10, done / 10))
            clock.now += seconds
        held.seek(0)
        held.truncate()
        bars(Progress("answers", 4, 10, 0.4))
    assert "4/10" in held.getvalue()
    assert left in held.getvalue()
