"""The templates of this folder, and what all of them show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from amulet_integrations.html_templates import open_templates
from amulet_integrations.terminal_text import safe

from .explained_tokens import ExplanationData
from .shift_plot import draw_shifts
from .shown_tokens import MovedToken, legend, show_token
from .tints import LEVELS, glass, tint_class
from .visible_text import visible_runs
from .wording import nats, percentage, strength, summary

FOLDER = Path(__file__).parent


def render(
    template: str, explanation: ExplanationData, most: Sequence[MovedToken], **more: Any
) -> str:
    """Renders a template.

    Args:
        template: Its file.
        explanation: The explanation.
        most: The tokens that were moved most.
        **more: What this template shows and others do not, or show in another way.
    """
    written = (
        _environment()
        .get_template(template)
        .render(
            explanation=explanation,
            question=visible_runs(explanation.question),
            model=visible_runs(explanation.model_name),
            summary=summary(explanation),
            levels=range(-LEVELS, LEVELS + 1),
            legend=legend(),
            tokens=[show_token(explanation, at) for at in range(len(explanation.tokens))],
            plot=draw_shifts(explanation),
            most=most,
            movers=any(row.mover for row in most),
            **more,
        )
    )
    return safe(written)


@cache
def _environment() -> Environment:
    made = open_templates(FOLDER)
    made.filters.update(
        glass=glass, nats=nats, percentage=percentage, strength=strength, tint_class=tint_class
    )
    return made
