"""An explanation as one HTML page without a network or a file beside it."""

from __future__ import annotations

import base64
import hashlib
from typing import TypedDict

from markupsafe import Markup

from amulet_integrations.profiles import Preference

from .explained_tokens import ExplanationData
from .look import look
from .page_data import embedded_data
from .shown_tokens import most_moved
from .templates import FOLDER, render
from .visible_text import Run, visible_runs
from .wording import preference_name

_MOST_MOVED = 15


class ShownPreference(TypedDict):
    """A preference as the page shows it."""

    name: str
    label: tuple[Run, ...]
    text: tuple[Run, ...]
    weight: float


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
        preferences=[_shown(it) for it in explanation.preferences],
        left_out=[_shown(it) for it in explanation.left_out],
        full=f"{explanation.guidance_scale:.3g}",
        first=most[0].place - 1 if most else 0,
        # What follows is ours, or has no sign that HTML reads.
        data=Markup(embedded_data(explanation)),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        style=Markup(style),  # noqa: S704
    )


def _shown(preference: Preference) -> ShownPreference:
    return {
        "name": preference_name(preference),
        "label": tuple(visible_runs(preference.name or "")),
        "text": tuple(visible_runs(preference.text)),
        "weight": preference.weight,
    }
