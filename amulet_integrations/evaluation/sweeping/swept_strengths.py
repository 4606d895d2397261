"""The strengths of a sweep, as the methods of an evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import cast

from amulet_integrations.decoding.strength import PRESETS, MaxKL, Preset, PresetName, Strength
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.methods import read_methods, strength_of
from amulet_integrations.evaluation.data.record_types import Method

SweptStrength = float | PresetName | tuple[float, float | None]
"""A guidance scale, a preset by name, or a guidance scale with its bound."""

DEFAULT_STRENGTHS: tuple[PresetName, ...] = ("gentle", "default", "strong", "paper")
"""What is compared with base (0) and pref (1)."""

_NAMES = {preset: name for name, preset in PRESETS.items()}
_DIGITS = 6  # guidance scales that agree in these decimal places are the same


def read_strengths(
    strengths: float | PresetName | Preset | Iterable[SweptStrength], max_kl: MaxKL = "default"
) -> tuple[Method, ...]:
    """Reads strengths as methods, with base and pref among them.

    Args:
        strengths: Guidance scales, names of presets, or pairs of a scale and its bound. A scale
            alone has the bound of the preset "default" where it is outside of 0 to 1.
        max_kl: The bound of all scales and presets by name, in nats; None lifts it.

    Returns:
        The methods by rising guidance scale. The scales 0 and 1 are the methods base and pref.

    Raises:
        EvaluationError: There is no strength, or one cannot be read.
        InvalidParamsError: A scale or a bound is out of its range.
        GuidanceScaleError: A scale is larger than the largest one allowed.
    """
    if isinstance(strengths, str | float | int | Preset):
        strengths = [strengths]
    read = [_read(one, max_kl) for one in strengths]
    if not read:
        raise EvaluationError(
            f"There is no strength. Give guidance scales such as 2, or {', '.join(PRESETS)}."
        )
    places: dict[tuple[float, float], Method] = {}
    for method in read_methods(dict.fromkeys(["base", "pref", *map(_method, read)])):
        scale, bound = cast("Preset", strength_of(method))
        places.setdefault((round(scale, _DIGITS), math.inf if bound is None else bound), method)
    return tuple(places[place] for place in sorted(places))


def strength_labels(methods: Iterable[Method]) -> dict[str, str]:
    """Returns a short name for each method, by the method's own name.

    It is base, pref, a preset's name, or such as "p = 2.5", with the bound where two methods differ
    in that alone.
    """
    methods = list(methods)
    labels = {method.name: _label(method) for method in methods}
    shared = {label for label, count in Counter(labels.values()).items() if count > 1}
    for method in methods:
        if labels[method.name] in shared:
            bound = "no bound" if method.max_kl is None else f"KL {method.max_kl:.3g}"
            labels[method.name] += f", {bound}"
    return labels


def _label(method: Method) -> str:
    strength = strength_of(method)
    if method.kind != "amulet" or strength is None:
        return method.name
    return _NAMES.get(strength, f"p = {strength.guidance_scale:.4g}")


def _read(given: SweptStrength, max_kl: MaxKL) -> Preset:
    if isinstance(given, str):
        if given not in PRESETS:
            raise EvaluationError(
                f"{given!r} is no strength. Give a guidance scale as a number, a pair of scale and "
                f"bound such as (2, 0.2), or one of {', '.join(PRESETS)}."
            )
        return Strength(preset=given, max_kl=max_kl).settled()
    scale, bound = given if isinstance(given, tuple) else (given, max_kl)
    if scale is None:
        raise EvaluationError("None is no strength. Give a guidance scale, such as 2.")
    return Strength(guidance_scale=scale, max_kl=bound).settled()


def _method(strength: Preset) -> str | Method:
    """The method of a strength, by the name that `amulet evaluate` reads."""
    scale, bound = round(strength.guidance_scale, _DIGITS), strength.max_kl
    if scale in {0.0, 1.0}:
        return "pref" if scale else "base"
    if strength in _NAMES:
        return f"amulet@{_NAMES[strength]}"
    name = f"amulet@p={_number(strength.guidance_scale)}"
    name += f",kl={'none' if bound is None else _number(bound)}"
    return Method(name=name, kind="amulet", guidance_scale=strength.guidance_scale, max_kl=bound)


def _number(value: float) -> str:
    """The shortest text that is read as this number: 2, not 2.0."""
    return repr(float(value)).removesuffix(".0")
