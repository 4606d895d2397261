"""An explanation as one HTML page without a network or a file beside it."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from .explained_tokens import ExplanationData
from .look import look
from .page_data import embedded_data
from .shown_tokens import most_moved
from .templates import FOLDER, render
from .visible_text import visible_runs
from .wording import preference_name

_MOST_MOVED = 15


def render_page(explanation: ExplanationData) -> str:
    """Renders the page."""
    script = (FOLDER / "explanation.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    style = look() + (FOLDER / "explanation.css").read_text(encoding="utf-8")
    most = most_moved(explanation, _MOST_MOVED)
    return render(
        "explanation.html.j2",
        explanation,
        most,
        preferences=[
            {
                "name": preference_name(it),
                "label": tuple(visible_runs(it.name or "")),
                "text": visible_runs(it.text),
                "weight": it.weight,
            }
            for it in explanation.preferences
        ],
        full=f"{explanation.guidance_scale:.3g}",
        first=most[0].place - 1 if most else 0,
        # What follows is ours, or has no sign that HTML reads.
        data=Markup(embedded_data(explanation)),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        style=Markup(style),  # noqa: S704
    )
