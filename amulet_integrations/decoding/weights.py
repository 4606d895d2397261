"""Weights of the contexts in the mixture: every method is one row of numbers that adds up to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

from amulet_integrations.decoding.params import AmuletParams
from amulet_integrations.errors import InvalidParamsError

DEFAULT_LINEAR_ALIGNMENT_RATIO = 2.0


def amulet_weights(params: AmuletParams) -> tuple[float, float]:
    """Weights of (base, pref) under Amulet: (1 - p, p), with p the end of the game."""
    scale = params.guidance_scale
    return 1.0 - scale, scale


def linear_alignment_weights(
    ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> tuple[float, float]:
    """Weights of (base, pref) under linear alignment (Gao et al., ICML 2024): (-rho, 1 + rho).

    Raises:
        InvalidParamsError: `ratio` is not a finite number.
    """
    if not math.isfinite(ratio):
        raise InvalidParamsError(f"ratio={ratio!r}: the ratio of linear alignment is finite.")
    return -ratio, 1.0 + ratio


def preference_weights(scale: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Weights of (base, pref_1, ..., pref_K) for several preferences under one guidance scale.

    Each w_k is divided by max(1, sum |w|), so that several preferences share the strength that
    one alone would have; a negative w_k steers away. One preference of weight 1 gives
    (1 - scale, scale).

    Args:
        scale: The guidance scale: 0 for base, 1 for pref, 1 + rho for linear alignment, p for
            Amulet.
        weights: Each preference's own weight, in [-1, 1].

    Returns:
        One weight for each context, the base context first; they add up to 1.

    Raises:
        InvalidParamsError: A weight is outside [-1, 1] or NaN, or `scale` is not finite.
    """
    if not math.isfinite(scale):
        raise InvalidParamsError(f"scale={scale!r}: a guidance scale is a finite number.")
    for weight in weights:
        if not -1.0 <= weight <= 1.0:
            raise InvalidParamsError(f"weight={weight!r}: a preference's weight is in [-1, 1].")
    share = scale / max(1.0, math.fsum(abs(weight) for weight in weights))
    steering = [share * weight for weight in weights]
    return (1.0 - math.fsum(steering), *steering)
