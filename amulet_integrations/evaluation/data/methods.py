"""The methods that an evaluation compares, read from their names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, cast, get_args

from amulet_integrations.decoding.guidance import (
    AmuletParams,
    check_guidance_scale,
    preference_weights,
)
from amulet_integrations.decoding.strength import PRESETS, Preset, PresetName, method_guidance_scale
from amulet_integrations.errors import AmuletError, EvaluationError

from .record_types import BOUNDABLE, Method, MethodKind, find_duplicate

DEFAULT_METHODS: tuple[MethodKind, ...] = get_args(MethodKind)
"""The five methods of the paper, in the order of its tables."""

DEFAULT_GRID = tuple(
    Preset(scale, bound) for scale in (1.5, 2.0, 3.0, 5.0) for bound in (0.1, 0.2, 0.4)
)
"""Guidance scales and bounds that make a frontier."""

_DIGITS = 6  # guidance scales that agree in these decimal places are the same
_STRENGTHS = {
    "amulet": "a preset (gentle, default, strong, paper), a whole number of iterations or a "
    "guidance scale, such as amulet@gentle, amulet@10 or amulet@p=2.5",
    "linear_alignment": "a ratio, such as linear_alignment@1.5",
    "beam_search": "a whole number of beams, such as beam_search@4",
}


def read_methods(methods: str | Method | Iterable[str | Method]) -> tuple[Method, ...]:
    """Reads methods from their names.

    Args:
        methods: "base" (no preference), "pref" (the preference in the prompt), "beam_search"
            (16 beams on that prompt), "linear_alignment" (as published) and "amulet" (the default
            preset). An @ and a strength may follow: "amulet@gentle", "amulet@strong" and
            "amulet@paper" are presets, "amulet@10" plays 10 iterations, "amulet@p=2.5" has that
            guidance scale, "linear_alignment@1.5" that ratio, "beam_search@4" 4 beams. A bound
            comes last: "amulet@2,kl=0.2", "amulet@p=3,kl=0.1", "linear_alignment,kl=0.2", or
            "kl=none". A preset has its own bound unless you give another one; iterations,
            guidance scales and ratios have none, exactly as published. The published code samples
            within its beams; this is plain beam search, which is the same every time. A single
            method need not be in a list.

    Returns:
        The methods. Each has the name by which you asked for it.

    Raises:
        EvaluationError: There is no method, one is unknown, or two have the same name.
        GuidanceScaleError: A guidance scale is larger than the largest one allowed.
    """
    if isinstance(methods, str | Method):
        methods = [methods]
    read = tuple(it if isinstance(it, Method) else _read_method(it) for it in methods)
    if not read:
        raise EvaluationError(f"There is no method. Give some of {', '.join(DEFAULT_METHODS)}.")
    duplicate = find_duplicate(method.name for method in read)
    if duplicate is not None:
        raise EvaluationError(f"The method {duplicate!r} is given twice. Give it once.")
    for method in read:
        scale = guidance_scale(method)
        if scale is not None:
            check_guidance_scale(scale, source=f"the method {method.name!r}")
    return read


def strengths(iterations: Iterable[int]) -> tuple[str, ...]:
    """Returns the names of Amulet without a bound after these numbers of iterations."""
    return tuple(f"amulet@{number}" for number in dict.fromkeys(iterations))


def grid(points: Iterable[Preset] = DEFAULT_GRID) -> tuple[str, ...]:
    """Returns the names of Amulet at these guidance scales under these bounds."""
    return tuple(
        f"amulet@p={scale:g},kl={'none' if bound is None else format(bound, 'g')}"
        for scale, bound in dict.fromkeys(points)
    )


def guidance_scale(method: Method) -> float | None:
    """Returns how strongly a method applies a preference; None for beam search."""
    if method.kind == "beam_search":
        return None
    if method.guidance_scale is not None:
        return method.guidance_scale
    return method_guidance_scale(method.kind, method.params, method.ratio)


def strength_of(method: Method) -> Preset | None:
    """Returns the guidance scale and the bound of a method; None for beam search."""
    scale = guidance_scale(method)
    return None if scale is None else Preset(scale, method.max_kl)


def context_weights(method: Method) -> tuple[float, ...]:
    """Returns the weights of the base context and the pref context.

    Beam search runs on the pref context.
    """
    scale = guidance_scale(method)
    return preference_weights(1.0 if scale is None else scale, [1.0])


def reference_of(methods: Iterable[Method]) -> Method | None:
    """Returns the method that others are compared with: the first of the kind "pref", or None."""
    return next((method for method in methods if method.kind == "pref"), None)


def points_of(methods: Iterable[Method]) -> tuple[Method, ...]:
    """Returns the methods that make a frontier: Amulet's, one for each guidance scale and bound.

    They are in the order of `Frontier.points`.
    """
    points: dict[tuple[float, float], Method] = {}
    for method in methods:
        strength = strength_of(method)
        if method.kind == "amulet" and strength is not None:
            bound = math.inf if strength.max_kl is None else strength.max_kl
            points.setdefault((round(strength.guidance_scale, _DIGITS), bound), method)
    return tuple(points[place] for place in sorted(points))


def _read_method(text: str) -> Method:
    name = "".join(text.split())
    unbounded, comma, bound = name.partition(",")
    kind, at, strength = unbounded.partition("@")
    if kind not in DEFAULT_METHODS:
        near = get_close_matches(kind, DEFAULT_METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EvaluationError(
            f"{text!r} is no method.{hint} There are {', '.join(DEFAULT_METHODS)}, and strengths "
            "such as amulet@10."
        )
    if at and kind not in _STRENGTHS:
        raise EvaluationError(f"The method {text!r} takes no number: write {kind!r}.")
    bounds = {"max_kl": _read_bound(text, kind, bound)} if comma else {}
    try:
        if kind == "amulet" and not at:
            at, strength = "@", "default"
        fields = _strength_fields(kind, strength) if at else {}
        return Method(name=name, kind=kind, **{**fields, **bounds})
    except (ValueError, AmuletError) as error:
        raise EvaluationError(
            f"The method {text!r} is not understood: after the @ comes {_STRENGTHS[kind]}."
        ) from error


def _strength_fields(kind: str, strength: str) -> dict[str, Any]:
    """Reads the text after the @ as the fields of a method."""
    if kind == "linear_alignment":
        return {"ratio": float(strength)}
    if kind == "beam_search":
        return {"num_beams": int(strength)}
    preset = PRESETS.get(cast("PresetName", strength))
    if preset is not None:
        return preset._asdict()
    if strength.startswith("p="):
        return {"guidance_scale": float(strength.removeprefix("p="))}
    return {"params": AmuletParams(iterations=int(strength))}


def _read_bound(text: str, kind: str, bound: str) -> float | None:
    """Reads the text after the comma as a bound in nats."""
    if kind not in BOUNDABLE:
        raise EvaluationError(
            f"The method {text!r} takes no bound, for {kind} has no guidance to hold back: leave "
            f"out {bound!r}. {' and '.join(BOUNDABLE)} take one."
        )
    if bound == "kl=none":
        return None
    with suppress(ValueError):
        nats = float(bound.removeprefix("kl="))
        if bound.startswith("kl=") and 0 <= nats < math.inf:
            return nats
    raise EvaluationError(
        f"The method {text!r} is not understood: after the comma comes a bound in nats, 0 or "
        f"more, such as {kind},kl=0.2, or kl=none."
    )
