"""The guidance scales at which likelihoods are computed, and curves between them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from amulet_integrations.decoding import check_guidance_scale
from amulet_integrations.errors import InvalidParamsError

from .policy_likelihood import Floats

FEWEST_SCALES = 4  # a cubic spline needs as many knots

_BEND = 1.5  # up to about this scale the likelihood bends most


def default_scales(maximum: float) -> list[float]:
    """Guidance scales from 0 to a maximum: 34 up to 20, about 75 up to 150,000.

    Their steps are nearly even below 1.5, and grow in proportion to the scale above: even steps of
    the inverse hyperbolic sine. A spline through the likelihoods there is within 0.1 standard
    errors.
    """
    reach = math.asinh(maximum / _BEND)
    steps = max(FEWEST_SCALES - 1, round(reach / (0.077 + 0.007 * reach)))
    scales = _BEND * np.sinh(np.linspace(0.0, reach, steps + 1))
    return [*scales[:-1].tolist(), maximum]


def check_scales(name: str, scales: Any, maximum: float) -> list[float]:
    """Checks the guidance scales at which likelihoods are computed.

    Args:
        name: The name of the argument, for messages.
        scales: At least 4 guidance scales from 0 up, each larger than the one before.
        maximum: The largest scale allowed.

    Raises:
        GuidanceScaleError: A scale is above `maximum`.
        InvalidParamsError: There are too few scales, or they are negative or do not rise.
    """
    try:
        given = [float(scale) for scale in scales]
    except (TypeError, ValueError, OverflowError):
        raise InvalidParamsError(f"{name}={scales!r}: give a list of guidance scales.") from None
    read = [check_guidance_scale(scale, maximum, name) for scale in given]
    if len(read) < FEWEST_SCALES or any(a >= b for a, b in pairwise(read)):
        raise InvalidParamsError(
            f"{name}={read}: give at least {FEWEST_SCALES} guidance scales, each larger than the "
            "one before."
        )
    if read[0] < 0.0:
        raise InvalidParamsError(
            f"{name}={read}: give scales from 0 up. What a user turns away from is a preference "
            "with a negative weight."
        )
    return read


def interpolate(scales: Floats, curves: Floats, at: Floats) -> Floats:
    """Curves at other scales, by cubic splines: shape (curves, scales) to (curves, places)."""
    values: Floats = CubicSpline(scales, curves, axis=1)(at)
    return values
