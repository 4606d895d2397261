"""An explanation as one HTML page without a network or a file beside it."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from amulet_integrations.terminal_text import safe

from .explained_tokens import ExplanationData
from .page_data import embedded_data
from .shift_plot import draw_shifts
from .shown_tokens import legend, most_moved, show_token
from .templates import FOLDER, environment
from .tints import DARK, LEVELS, LIGHT, hex_code, tint_class, tinted_levels
from .visible_text import visible_runs
from .wording import preference_name, summary

_MOST_MOVED = 15


def render_page(explanation: ExplanationData) -> str:
    """Renders the page."""
    script = (FOLDER / "explanation.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    style = (FOLDER / "explanation.css").read_text(encoding="utf-8") + _tint_rules()
    most = most_moved(explanation, _MOST_MOVED)
    page = (
        environment()
        .get_template("explanation.html.j2")
        .render(
            explanation=explanation,
            question=visible_runs(explanation.question),
            model=visible_runs(explanation.model_name),
            preferences=[
                {
                    "name": preference_name(it),
                    "label": tuple(visible_runs(it.name or "")),
                    "text": visible_runs(it.text),
                    "weight": it.weight,
                }
                for it in explanation.preferences
            ],
            summary=summary(explanation),
            levels=range(-LEVELS, LEVELS + 1),
            legend=legend(),
            tokens=[show_token(explanation, at) for at in range(len(explanation.tokens))],
            plot=draw_shifts(explanation),
            full=f"{explanation.guidance_scale:.3g}",
            most=most,
            movers=any(row.mover for row in most),
            first=most[0].place - 1 if most else 0,
            # What follows is ours, or has no sign that HTML reads.
            data=Markup(embedded_data(explanation)),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_hash=f"sha256-{base64.b64encode(digest).decode()}",
            style=Markup(style),  # noqa: S704
        )
    )
    return safe(page)


def _tint_rules() -> str:
    rules = {
        palette: "".join(
            f".{tint_class(level)}{{background:{hex_code(palette.tint(level))}}}"
            for level in tinted_levels()
        )
        for palette in (LIGHT, DARK)
    }
    return f"{rules[LIGHT]}\n@media screen and (prefers-color-scheme:dark){{{rules[DARK]}}}\n"
