"""An explanation as a piece of HTML for notebooks: no script, no ids, colours of the notebook."""

from __future__ import annotations

from amulet_integrations.terminal_text import safe

from .explained_tokens import ExplanationData
from .shift_plot import draw_shifts
from .shown_tokens import legend, most_moved, show_token
from .templates import environment
from .tints import LEVELS
from .visible_text import visible_runs
from .wording import preference_name, summary

_MOST_MOVED = 10


def render_fragment(explanation: ExplanationData) -> str:
    """Renders the piece. Its tints let the background shine through, be it light or dark."""
    most = most_moved(explanation, _MOST_MOVED)
    fragment = (
        environment()
        .get_template("notebook.html.j2")
        .render(
            explanation=explanation,
            question=visible_runs(explanation.question),
            preferences=[
                (preference_name(it), visible_runs(it.text) if it.name else (), it.weight)
                for it in explanation.preferences
            ],
            model=visible_runs(explanation.model_name),
            summary=summary(explanation),
            levels=range(-LEVELS, LEVELS + 1),
            legend=legend(),
            tokens=[show_token(explanation, at) for at in range(len(explanation.tokens))],
            plot=draw_shifts(explanation),
            most=most,
            movers=any(row.mover for row in most),
        )
    )
    return safe(fragment)
