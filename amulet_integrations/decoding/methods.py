"""The methods, each one a guidance scale."""

from __future__ import annotations

from typing import Literal

from amulet_integrations.decoding.params import AmuletParams
from amulet_integrations.decoding.weights import DEFAULT_LINEAR_ALIGNMENT_RATIO

Method = Literal["amulet", "linear_alignment", "pref", "base"]
"""How a policy is made of the contexts: which guidance scale goes into `preference_weights`."""


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
    if method == "amulet":
        return params.guidance_scale
    if method == "linear_alignment":
        return 1.0 + linear_alignment_ratio
    return 1.0 if method == "pref" else 0.0
