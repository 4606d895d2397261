"""A sweep as one HTML page without a script, a network or a file beside it."""

from __future__ import annotations

import math
from pathlib import Path

from amulet_integrations.evaluation.metrics.builtin_scores import note_of
from amulet_integrations.html_templates import open_templates
from amulet_integrations.terminal_text import safe

from . import score_charts, sweep_table
from .strength_sweep import SweepData

_TEMPLATE = "sweep.html.j2"
_MOST_COLUMNS = 6
_OPEN_CASES = 3  # whose answers are seen before anything is opened


def render_sweep(sweep: SweepData) -> str:
    """Renders the page."""
    return _render(sweep, whole=True)


def render_fragment(sweep: SweepData) -> str:
    """Renders what a notebook shows: the page without its head, with styles of its own alone."""
    return _render(sweep, whole=False)


def _render(sweep: SweepData, *, whole: bool) -> str:
    scores = sweep_table.shown_scores(sweep)
    cases, strengths = sweep.cases(), sweep.strengths
    columns = balanced(len(strengths), _MOST_COLUMNS)
    page = (
        open_templates(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(
            whole=whole,
            sweep=sweep,
            model=sweep.evaluation.settings.model,
            preferences=sweep.evaluation.preferences,
            strengths={point.method: point for point in strengths},
            recommended=sweep.recommended,
            bound_text=sweep_table.bound_text,
            past_limits=sweep_table.past_limits,
            charts=score_charts.score_charts(sweep),
            panel=score_charts,
            cases=cases,
            open_cases=_OPEN_CASES,
            columns=columns,
            half_columns=math.ceil(columns / 2),
            answer_scores=lambda answer: sweep_table.answer_scores(answer, scores),
            table=sweep_table.sweep_table(sweep),
            coverage_note=sweep_table.coverage_note(sweep),
            notes=[note_of(score) for score in scores],
            settings=sweep.evaluation.settings,
        )
    )
    return safe(page)


def balanced(items: int, most: int) -> int:
    """Returns how many columns fill rows of at most `most` evenly: 4, not 6, for 8 items."""
    return math.ceil(items / math.ceil(items / most))
