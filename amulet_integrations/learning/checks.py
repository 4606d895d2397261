"""Checks of the numbers that both estimates take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from amulet_integrations.decoding import check_guidance_scale
from amulet_integrations.errors import EvidenceError, InvalidParamsError
from amulet_integrations.learning.example import Example


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Refuses what is not a number strictly between two bounds.

    Raises:
        InvalidParamsError: Out of bounds, NaN, infinite, or no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        bounds = f"above {low:g}" + ("" if high == math.inf else f" and below {high:g}")
        raise InvalidParamsError(f"{name}={value!r}: give a finite number {bounds}.")
    return float(value)


def check_share(name: str, share: Any) -> float:
    """Refuses what is not in [0, 1).

    Raises:
        InvalidParamsError: Out of bounds, or no number.
    """
    return 0.0 if share == 0 else check_number(name, share, 0.0, 1.0)


def check_count(name: str, value: Any, least: int) -> int:
    """Refuses what is not a whole number of at least `least`.

    Raises:
        InvalidParamsError: Too small, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidParamsError(f"{name}={value!r}: give a whole number of at least {least}.")
    return value


def check_scales(name: str, scales: Any, fewest: int, maximum: float) -> list[float]:
    """Refuses guidance scales that are too few, too strong, or do not rise.

    Raises:
        GuidanceScaleError: One is past `maximum`.
        InvalidParamsError: Too few, or not rising.
    """
    try:
        given = [float(scale) for scale in scales]
    except (TypeError, ValueError):
        raise InvalidParamsError(f"{name}={scales!r}: give a list of guidance scales.") from None
    read = [check_guidance_scale(scale, maximum, name) for scale in given]
    if len(read) < fewest or any(a >= b for a, b in pairwise(read)):
        raise InvalidParamsError(
            f"{name}={read}: give at least {fewest} guidance scales, each larger than the one "
            "before."
        )
    return read


def check_examples(examples: Any) -> Sequence[Example]:
    """Refuses what are not examples.

    Raises:
        EvidenceError: One of them is something else.
    """
    if not isinstance(examples, Iterable):
        raise EvidenceError(f"examples is a {type(examples).__name__}; give a list of Examples.")
    given = tuple(examples)
    for number, example in enumerate(given):
        if not isinstance(example, Example):
            raise EvidenceError(
                f"examples[{number}] is a {type(example).__name__}; give an Example."
            )
    return given


def check_tokens(tokens: int, answers: int, least: int) -> None:
    """Refuses answers that are too short to tell much.

    Raises:
        EvidenceError: Fewer tokens than `least`.
    """
    if tokens < least:
        raise EvidenceError(
            f"The {answers} answers have {tokens} tokens together, fewer than min_tokens={least}. "
            "Give more or longer answers."
        )
