"""An explanation as a piece of HTML for notebooks: no script, no ids, colours of the notebook."""

from __future__ import annotations

from .explained_tokens import ExplanationData
from .shown_tokens import most_moved
from .templates import render
from .visible_text import visible_runs
from .wording import preference_name

_MOST_MOVED = 10


def render_fragment(explanation: ExplanationData) -> str:
    """Renders the piece. Its tints let the background shine through, be it light or dark."""
    return render(
        "notebook.html.j2",
        explanation,
        most_moved(explanation, _MOST_MOVED),
        preferences=[
            (preference_name(it), visible_runs(it.text) if it.name else (), it.weight)
            for it in explanation.preferences
        ],
    )
