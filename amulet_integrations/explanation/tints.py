"""The colours of a shift: blue where a token became less likely, orange where it became likelier.

Both are told apart by people who confuse red with green.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

SATURATION = 4.0
"""The shift, in nats, from which on a colour grows no stronger."""

LEVELS = 8
"""Steps of colour in either direction."""

Rgb = tuple[int, int, int]


class Palette(NamedTuple):
    """The colours on one kind of background.

    Attributes:
        background: The colour of a token that was not moved.
        ink: The colour of text, which can be read on every tint.
        likelier: The strongest orange.
        less_likely: The strongest blue.
    """

    background: Rgb
    ink: Rgb
    likelier: Rgb
    less_likely: Rgb

    def tint(self, level: int) -> Rgb:
        """The colour of a level, as `shift_level` gives it."""
        end = self.likelier if level > 0 else self.less_likely
        share = _share(level)
        red, green, blue = (
            round(low + (high - low) * share)
            for low, high in zip(self.background, end, strict=True)
        )
        return red, green, blue


LIGHT = Palette((255, 255, 255), (22, 32, 44), (245, 152, 56), (104, 172, 240))
DARK = Palette((23, 28, 36), (240, 244, 249), (166, 80, 8), (34, 98, 186))

_ORANGE_GLASS: Rgb = (235, 120, 10)
_BLUE_GLASS: Rgb = (40, 120, 225)
_GLASS = 0.45  # how little of the background the strongest tint lets through


def shift_level(shift: float) -> int:
    """The level of a shift in nats: 0 for hardly any, `LEVELS` and its negative at most."""
    if abs(shift) >= SATURATION:
        return LEVELS if shift > 0 else -LEVELS
    return round(shift / SATURATION * LEVELS)


def tinted_levels() -> Iterator[int]:
    """All levels but 0, in ascending order."""
    return (level for level in range(-LEVELS, LEVELS + 1) if level)


def tint_class(level: int) -> str:
    """The class of a tint: u1 to u8 upwards, d1 to d8 downwards."""
    return f"{'u' if level > 0 else 'd'}{abs(level)}"


def glass(level: int) -> str:
    """The tint of a level as a CSS colour that lets any background shine through."""
    red, green, blue = _ORANGE_GLASS if level > 0 else _BLUE_GLASS
    return f"rgba({red},{green},{blue},{_GLASS * _share(level):.2f})" if level else "transparent"


def hex_code(colour: Rgb) -> str:
    """Such as "#ff8800"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _share(level: int) -> float:
    """How much of the strongest colour a level has; weak shifts are to be seen too."""
    return math.pow(abs(level) / LEVELS, 0.8)
