"""Colours: text can be read on all of them, and they grow with the shift."""

from __future__ import annotations

import itertools
import math
import re

import pytest

from amulet_integrations.explanation.tints import (
    DARK,
    LEVELS,
    LIGHT,
    SATURATION,
    glass,
    shift_level,
    tinted_levels,
)

NOTEBOOKS = {
    "JupyterLab": ((255, 255, 255), (33, 33, 33)),
    "JupyterLab, dark": ((17, 17, 17), (224, 224, 224)),
    "VS Code": ((255, 255, 255), (59, 59, 59)),
    "VS Code, dark": ((30, 30, 30), (204, 204, 204)),
}


def luminance(colour):
    parts = [it / 255 for it in colour]
    red, green, blue = (
        it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """WCAG 2.2, from 1 to 21."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_tint(palette):
    for level in [0, *tinted_levels()]:
        assert contrast(palette.tint(level), palette.ink) >= 4.5, level


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_text_can_be_read_on_every_tint_of_a_notebook(notebook):
    paper, ink = NOTEBOOKS[notebook]
    for level in tinted_levels():
        *colour, alpha = map(float, re.findall(r"[\d.]+", glass(level)))
        pairs = zip(colour, paper, strict=True)
        seen = [alpha * over + (1 - alpha) * under for over, under in pairs]
        assert contrast(seen, ink) >= 4.5, level


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_tints_grow_with_the_shift(palette):
    for side in (range(LEVELS + 1), range(0, -LEVELS - 1, -1)):
        distances = [math.dist(palette.tint(level), palette.background) for level in side]
        assert all(one < other for one, other in itertools.pairwise(distances))
    # Those who confuse red with green tell them apart by how much blue there is.
    orange, blue = palette.tint(LEVELS), palette.tint(-LEVELS)
    assert blue[2] - orange[2] > 100


@pytest.mark.parametrize(
    ("shift", "level"),
    [
        *((0.0, 0), (0.2, 0), (-0.2, 0), (0.5, 1), (-0.5, -1), (2.0, LEVELS // 2)),
        *((SATURATION, LEVELS), (-SATURATION, -LEVELS), (100.0, LEVELS)),
        *((math.inf, LEVELS), (-math.inf, -LEVELS)),
    ],
)
def test_the_level_of_a_shift(shift, level):
    assert shift_level(shift) == level
