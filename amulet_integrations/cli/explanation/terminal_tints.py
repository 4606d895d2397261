"""The colours of a shift on a terminal. Text and background are both set, so it can be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.style import Style

from amulet_integrations.explanation.tints import (
    DARK,
    LEVELS,
    LIGHT,
    Palette,
    hex_code,
    tinted_levels,
)

_LIGHT_BACKGROUNDS = {"7", "15"}  # the last number of COLORFGBG


@dataclass(frozen=True)
class Tints:
    """A style for each level of shift.

    Attributes:
        styles: The styles by level; levels without one look like other text.
        likelier: The colour of bars upwards.
        less_likely: The colour of bars downwards.
    """

    styles: dict[int, Style]
    likelier: str
    less_likely: str

    @classmethod
    def for_console(cls, console: Console) -> Self | None:
        """The tints that a console can show; None where it shows no colours."""
        system = console.color_system
        if not console.is_terminal or console.is_dumb_terminal or console.no_color:
            return None
        if system in {None, "standard", "windows"}:
            return None if system is None else cls.sixteen()
        return cls._of(LIGHT if _is_light() else DARK)

    @classmethod
    def sixteen(cls) -> Self:
        """Those of a terminal of sixteen colours: nothing, text in colour, colour behind text."""
        weak = {True: Style.parse("yellow"), False: Style.parse("blue")}
        strong = {True: Style.parse("black on yellow"), False: Style.parse("white on blue")}
        styles = {
            level: (weak if abs(level) < LEVELS // 2 else strong)[level > 0]
            for level in tinted_levels()
            if abs(level) > 1
        }
        return cls(styles, "yellow", "blue")

    @classmethod
    def _of(cls, palette: Palette) -> Self:
        ink = hex_code(palette.ink)
        styles = {
            level: Style(color=ink, bgcolor=hex_code(palette.tint(level)))
            for level in tinted_levels()
        }
        return cls(styles, "#e0832b", "#4a90dc")

    def style(self, level: int) -> Style:
        """The style of a level."""
        return self.styles.get(level, Style.null())


def _is_light() -> bool:
    """Whether the terminal tells that its background is light."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS
