"""The look of tinted answers in pages: that of an explanation, and the server's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .tints import DARK, LIGHT, Palette, hex_code, tint_class, tinted_levels

_FILE = Path(__file__).parent / "look.css"


@cache
def look() -> str:
    """The style sheet: colours, cards, the legend, and tokens with their tints, light and dark."""
    dark = f"@media screen and (prefers-color-scheme:dark){{{_tint_rules(DARK)}}}"
    return f"{_FILE.read_text(encoding='utf-8')}{_tint_rules(LIGHT)}\n{dark}\n"


def _tint_rules(palette: Palette) -> str:
    return "".join(
        f".{tint_class(level)}{{background:{hex_code(palette.tint(level))}}}"
        for level in tinted_levels()
    )
