"""The methods that are compared, by their names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import get_args

from amulet_integrations.decoding.methods import method_guidance_scale
from amulet_integrations.decoding.params import AmuletParams, check_guidance_scale
from amulet_integrations.decoding.weights import preference_weights
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.names import repeated
from amulet_integrations.evaluation.records import Method, MethodKind

DEFAULT_METHODS: tuple[MethodKind, ...] = get_args(MethodKind)
"""The five of the paper, in the order of its tables."""

DEFAULT_STRENGTHS = (1, 2, 5, 10, 30, 60, 200)
"""Iterations that make a curve: closely where little changes much, widely where it does not."""

_NUMBERS = {
    "amulet": "a whole number of iterations, such as amulet@10",
    "linear_alignment": "a ratio, such as linear_alignment@1.5",
    "beam_search": "a whole number of beams, such as beam_search@4",
}


def read_methods(methods: str | Method | Iterable[str | Method]) -> tuple[Method, ...]:
    """Makes methods of their names.

    Args:
        methods: "base" (no preference), "pref" (the preference in the prompt), "beam_search"
            (16 beams on that prompt), "linear_alignment" and "amulet", with the package's
            defaults. A number after an @ sets the strength: "amulet@10" plays 10 iterations,
            "linear_alignment@1.5" has that ratio, "beam_search@4" has 4 beams. The published
            code samples within its beams; this is plain beam search, the same every time. One may
            come alone.

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
    """The names of Amulet at several strengths, each number of iterations once."""
    return tuple(f"amulet@{number}" for number in dict.fromkeys(iterations))


def guidance_scale(method: Method) -> float | None:
    """How strongly a method applies a preference; None for beam search, which mixes nothing."""
    if method.kind == "beam_search":
        return None
    return method_guidance_scale(method.kind, method.params, method.ratio)


def context_weights(method: Method) -> tuple[float, ...]:
    """The weights of the base context and the pref context; beam search is on the pref context."""
    scale = guidance_scale(method)
    return preference_weights(1.0 if scale is None else scale, [1.0])


def _read_method(text: str) -> Method:
    kind, at, number = text.strip().partition("@")
    if kind not in DEFAULT_METHODS:
        near = get_close_matches(kind, DEFAULT_METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EvaluationError(
            f"{text!r} is no method.{hint} There are {', '.join(DEFAULT_METHODS)}, and strengths "
            "such as amulet@10."
        )
    if not at:
        return Method(name=kind, kind=kind)
    if kind not in _NUMBERS:
        raise EvaluationError(f"The method {text!r} takes no number: write {kind!r}.")
    name = f"{kind}@{number.strip()}"
    try:
        if kind == "linear_alignment":
            return Method(name=name, kind=kind, ratio=float(number))
        if kind == "amulet":
            return Method(name=name, kind=kind, params=AmuletParams(iterations=int(number)))
        return Method(name=name, kind=kind, num_beams=int(number))
    except (ValueError, AmuletError) as error:
        raise EvaluationError(
            f"The method {text!r} is not understood: after the @ comes {_NUMBERS[kind]}."
        ) from error
