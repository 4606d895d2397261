"""The methods that are compared, by their names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, cast, get_args

from amulet_integrations.decoding.guidance import (
    AmuletParams,
    check_guidance_scale,
    preference_weights,
)
from amulet_integrations.decoding.strength import PRESETS, Preset, PresetName, method_guidance_scale
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.runs.names import repeated
from amulet_integrations.evaluation.runs.records import BOUNDABLE, Method, MethodKind

DEFAULT_METHODS: tuple[MethodKind, ...] = get_args(MethodKind)
"""The five of the paper, in the order of its tables."""

DEFAULT_GRID = tuple(
    Preset(scale, bound) for scale in (1.5, 2.0, 3.0, 5.0) for bound in (0.1, 0.2, 0.4)
)
"""Guidance scales and bounds that make a frontier."""

_STRENGTHS = {
    "amulet": "a preset (gentle, default, strong, paper), a whole number of iterations or a "
    "guidance scale, such as amulet@gentle, amulet@10 or amulet@p=2.5",
    "linear_alignment": "a ratio, such as linear_alignment@1.5",
    "beam_search": "a whole number of beams, such as beam_search@4",
}
_BOUND = "kl="
_UNBOUNDED = "none"


def read_methods(methods: str | Method | Iterable[str | Method]) -> tuple[Method, ...]:
    """Makes methods of their names.

    Args:
        methods: "base" (no preference), "pref" (the preference in the prompt), "beam_search"
            (16 beams on that prompt), "linear_alignment" (as published) and "amulet" (the default
            preset). What follows an @ sets the strength: "amulet@gentle", "amulet@strong" and
            "amulet@paper" are presets, "amulet@10" plays 10 iterations, "amulet@p=2.5" has that
            guidance scale, "linear_alignment@1.5" that ratio, "beam_search@4" 4 beams. A bound
            comes last: "amulet@2,kl=0.2", "amulet@p=3,kl=0.1", "linear_alignment,kl=0.2", or
            "kl=none". A preset brings its own, unless another one is said; iterations, guidance
            scales and ratios have none, exactly as published. The published code samples within
            its beams; this is plain beam search, the same every time. One may come alone.

    Returns:
        The methods, each called as it was asked for.

    Raises:
        EvaluationError: No method, an unknown one, or two of one name.
        GuidanceScaleError: One is past the largest guidance scale.
    """
    if isinstance(methods, str | Method):
        methods = [methods]
    read = tuple(
        method if isinstance(method, Method) else _read_method(method) for method in methods
    )
    if not read:
        raise EvaluationError(f"There is no method. Give some of {', '.join(DEFAULT_METHODS)}.")
    twice = repeated(method.name for method in read)
    if twice is not None:
        raise EvaluationError(f"The method {twice!r} is given twice. Give it once.")
    for method in read:
        scale = guidance_scale(method)
        if scale is not None:
            check_guidance_scale(scale, source=f"the method {method.name!r}")
    return read


def strengths(iterations: Iterable[int]) -> tuple[str, ...]:
    """The names of Amulet without a bound at several strengths, each number of iterations once."""
    return tuple(f"amulet@{number}" for number in dict.fromkeys(iterations))


def grid(points: Iterable[Preset] = DEFAULT_GRID) -> tuple[str, ...]:
    """The names of Amulet at guidance scales under bounds, each pair once."""
    return tuple(
        f"amulet@p={scale:g},{_BOUND}{_UNBOUNDED if bound is None else format(bound, 'g')}"
        for scale, bound in dict.fromkeys(points)
    )


def guidance_scale(method: Method) -> float | None:
    """How strongly a method applies a preference; None for beam search, which mixes nothing."""
    if method.kind == "beam_search":
        return None
    if method.guidance_scale is not None:
        return method.guidance_scale
    return method_guidance_scale(method.kind, method.params, method.ratio)


def strength_of(method: Method) -> Preset | None:
    """The guidance scale and the bound of a method; None for beam search."""
    scale = guidance_scale(method)
    return None if scale is None else Preset(scale, method.max_kl)


def context_weights(method: Method) -> tuple[float, ...]:
    """The weights of the base context and the pref context; beam search is on the pref context."""
    scale = guidance_scale(method)
    return preference_weights(1.0 if scale is None else scale, [1.0])


def _read_method(text: str) -> Method:
    name = "".join(text.split())
    strengthened, comma, bound = name.partition(",")
    kind, at, strength = strengthened.partition("@")
    if kind not in DEFAULT_METHODS:
        near = get_close_matches(kind, DEFAULT_METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EvaluationError(
            f"{text!r} is no method.{hint} There are {', '.join(DEFAULT_METHODS)}, and strengths "
            "such as amulet@10."
        )
    fields: dict[str, Any] = _preset_fields("default") if kind == "amulet" and not at else {}
    if at:
        fields = _read_strength(text, kind, strength)
    if comma:
        fields["max_kl"] = _read_bound(text, kind, bound)
    return Method(name=name, kind=kind, **fields)


def _read_strength(text: str, kind: str, strength: str) -> dict[str, Any]:
    """The fields of a method that say how strong it is: what stands behind the @."""
    if kind not in _STRENGTHS:
        raise EvaluationError(f"The method {text!r} takes no number: write {kind!r}.")
    try:
        if kind == "linear_alignment":
            return {"ratio": _finite(strength)}
        if kind == "beam_search":
            return {"num_beams": _positive(strength)}
        if strength in PRESETS:
            return _preset_fields(strength)
        if strength.startswith("p="):
            return {"guidance_scale": _finite(strength.removeprefix("p="))}
        return {"params": AmuletParams(iterations=int(strength))}
    except (ValueError, AmuletError) as error:
        raise EvaluationError(
            f"The method {text!r} is not understood: after the @ comes {_STRENGTHS[kind]}."
        ) from error


def _read_bound(text: str, kind: str, bound: str) -> float | None:
    """A bound in nats: what stands behind the comma."""
    if kind not in BOUNDABLE:
        raise EvaluationError(
            f"The method {text!r} takes no bound, for {kind} has no guidance to hold back: leave "
            f"out {bound!r}. {' and '.join(BOUNDABLE)} take one."
        )
    number = bound.removeprefix(_BOUND)
    if bound.startswith(_BOUND) and number == _UNBOUNDED:
        return None
    try:
        nats = _finite(number) if bound.startswith(_BOUND) else -1.0
    except ValueError:
        nats = -1.0
    if nats < 0:
        raise EvaluationError(
            f"The method {text!r} is not understood: after the comma comes a bound in nats, 0 or "
            f"more, such as {kind},kl=0.2, or kl=none."
        )
    return nats


def _preset_fields(name: str) -> dict[str, Any]:
    return PRESETS[cast("PresetName", name)]._asdict()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
