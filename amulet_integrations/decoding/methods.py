"""The methods, each one a guidance scale."""

from __future__ import annotations

from typing import Literal

from amulet_integrations.decoding.params import AmuletParams
from amulet_integrations.decoding.strength import PRESETS, Preset, Strength
from amulet_integrations.decoding.weights import DEFAULT_LINEAR_ALIGNMENT_RATIO

Method = Literal["amulet", "linear_alignment", "pref", "base"]
"""How a policy is made of the contexts: which guidance scale goes into `preference_weights`."""


def method_strength(
    method: Method,
    strength: Strength,
    default: Preset = PRESETS["default"],
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> Preset:
    """The guidance scale of a method, and the bound on what it may do.

    Args:
        method: As for `method_guidance_scale`. The contexts of "base" and "pref" have no bound.
        strength: What is said of the strength: for "amulet" all of it, for "linear_alignment" the
            bound.
        default: What holds where nothing is said.
        linear_alignment_ratio: The ratio rho, for "linear_alignment".

    Raises:
        GuidanceScaleError: The scale of the strength's `params` is too large for a float.
    """
    if method == "amulet":
        return strength.settled(default)
    if method == "linear_alignment":
        scale = 1.0 + linear_alignment_ratio
        return Strength(guidance_scale=scale, max_kl=strength.bound).settled(default)
    return Preset(1.0 if method == "pref" else 0.0, None)


def strength_of_method(method: Method | None, strength: Strength) -> Strength:
    """What is left of a strength under a method; those of their own scale take none from it."""
    return strength if method in {None, "amulet"} else Strength(max_kl=strength.max_kl)


def method_guidance_scale(
    method: Method,
    params: AmuletParams,
    linear_alignment_ratio: float = DEFAULT_LINEAR_ALIGNMENT_RATIO,
) -> float:
    """The guidance scale of a method.

    Args:
        method: "base" ignores preferences (0); "pref" only puts them into the prompt (1);
            "linear_alignment" extrapolates once (1 + rho); "amulet" plays its game (p).
        params: The game's parameters, for "amulet".
        linear_alignment_ratio: The ratio rho, for "linear_alignment".
    """
    return method_strength(
        method, Strength(params=params), linear_alignment_ratio=linear_alignment_ratio
    ).guidance_scale
