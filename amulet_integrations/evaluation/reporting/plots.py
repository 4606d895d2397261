"""What every picture of a report shares: colours, panels, labels, and how it is saved."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.runs.names import shortened
from amulet_integrations.terminal_text import safe

_SOFTWARE = "amulet-integrations evaluation"  # what a picture says it was made by
_WIDTH = 8.0
_DPI = 150


@dataclass(frozen=True)
class Theme:
    """Colours that go with a page's background."""

    background: str
    ink: str
    muted: str
    grid: str
    main: str
    warm: str
    neutral: str


LIGHT = Theme("#ffffff", "#1c2430", "#5b6675", "#dfe4ea", "#2f6fb7", "#c9562b", "#b4bcc7")
DARK = Theme("#171c24", "#e4e9f0", "#9aa6b5", "#2f3844", "#6ea8e6", "#ec8a5e", "#5a6675")


def check_plots() -> None:
    """Finds out whether plots can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError.for_extra("matplotlib", "evaluation")


def plot_label(text: str, longest: int = 28) -> str:
    """A short label for a picture, in which dollars begin no formula."""
    return shortened(safe(text), longest).replace("$", r"\$")


def heading(theme: Theme) -> dict[str, Any]:
    """How a picture's title is set."""
    return {"fontsize": 12, "fontweight": "bold", "color": theme.ink, "x": 0.02, "ha": "left"}


def panels(
    rows: int, columns: int, height: float, theme: Theme, *, alike: bool = True
) -> tuple[Any, list[Any]]:
    """A picture and its panels, row by row.

    Args:
        rows: How many rows of panels.
        columns: How many of them side by side.
        height: Of a row, in inches.
        theme: The colours.
        alike: Whether all panels have the same scales.
    """
    check_plots()
    # Not pyplot: it keeps every picture, and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    picture = Figure(figsize=(_WIDTH, rows * height), layout="constrained")
    FigureCanvasAgg(picture)
    grid = picture.subplots(rows, columns, squeeze=False, sharex=alike, sharey=alike)
    for axes in grid.flat:
        axes.set_facecolor(theme.background)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(theme.muted)
        axes.tick_params(colors=theme.ink, labelsize=9, labelbottom=True)
        axes.xaxis.label.set(color=theme.ink, fontsize=9)
        axes.yaxis.label.set(color=theme.ink, fontsize=9)
    return picture, list(grid.flat)


def png(picture: Any, theme: Theme) -> bytes:
    """The picture as a PNG, which says who made it."""
    held = io.BytesIO()
    with warnings.catch_warnings():
        # A box stands for it, and nobody who runs a command can do more.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        picture.savefig(
            held,
            format="png",
            dpi=_DPI,
            facecolor=theme.background,
            metadata={"Software": _SOFTWARE},
        )
    return held.getvalue()


def is_ours(picture: bytes) -> bool:
    """Whether a PNG says that a report made it."""
    return f"Software\0{_SOFTWARE}".encode() in picture
