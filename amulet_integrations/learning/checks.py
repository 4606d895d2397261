"""Checks of the numbers and examples that both estimates take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from amulet_integrations.decoding import check_guidance_scale
from amulet_integrations.errors import AmuletError, EvidenceError, InvalidParamsError
from amulet_integrations.learning.example import Example, unknown_names

DEFAULT_MIN_TOKENS = 64
DEFAULT_MIN_EXAMPLES = 5
"""Fewer hardly tell how much answers differ, and on that rests how sure an estimate is."""

_LOWEST_TEMPERATURE = 0.01
_PAIR = ("question", "accepted")


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Refuses what is not a number strictly between two bounds.

    Raises:
        InvalidParamsError: Out of bounds, NaN, infinite, or no number.
    """
    bounds = f"above {low:g}" + ("" if high == math.inf else f" and below {high:g}")
    if not _is_real(value) or not low < value < high:
        raise InvalidParamsError(f"{name}={value!r}: give a finite number {bounds}.")
    try:
        return float(value)
    except OverflowError:
        raise InvalidParamsError(
            f"{name} is an integer that no float holds; give a finite number {bounds}."
        ) from None


def check_temperature(temperature: Any) -> float:
    """Refuses temperatures that are next to none.

    Raises:
        InvalidParamsError: Below 0.01, not finite, or no number.
    """
    read = check_number("temperature", temperature, 0.0)
    if read < _LOWEST_TEMPERATURE:
        raise InvalidParamsError(
            f"temperature={read:g}: give at least {_LOWEST_TEMPERATURE:g}. Answers without chance "
            "are no samples, and no likelihood holds for them."
        )
    return read


def check_share(name: str, share: Any) -> float:
    """Refuses what is not in [0, 1).

    Raises:
        InvalidParamsError: Out of bounds, or no number.
    """
    return 0.0 if _is_real(share) and share == 0 else check_number(name, share, 0.0, 1.0)


def check_count(name: str, value: Any, least: int) -> int:
    """Refuses what is not a whole number of at least `least`.

    Raises:
        InvalidParamsError: Too small, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InvalidParamsError(f"{name}={value!r}: give a whole number of at least {least}.")
    return int(value)


def check_scales(name: str, scales: Any, fewest: int, maximum: float) -> list[float]:
    """Refuses guidance scales that are too few, too strong, negative, or do not rise.

    Raises:
        GuidanceScaleError: One is past `maximum`.
        InvalidParamsError: Too few, negative, or not rising.
    """
    try:
        given = [float(scale) for scale in scales]
    except (TypeError, ValueError, OverflowError):
        raise InvalidParamsError(f"{name}={scales!r}: give a list of guidance scales.") from None
    read = [check_guidance_scale(scale, maximum, name) for scale in given]
    if len(read) < fewest or any(a >= b for a, b in pairwise(read)):
        raise InvalidParamsError(
            f"{name}={read}: give at least {fewest} guidance scales, each larger than the one "
            "before."
        )
    if read[0] < 0.0:
        raise InvalidParamsError(
            f"{name}={read}: give scales from 0 up. What a user turns away from is a preference "
            "with a negative weight."
        )
    return read


def check_examples(examples: Any) -> Sequence[Example]:
    """Reads examples, and refuses what are none and what would count twice.

    Args:
        examples: Each an `Example`, a dict of its fields, or a pair of question and answer.

    Raises:
        EvidenceError: One of them is something else, or the same as another.
    """
    if not isinstance(examples, Iterable):
        raise EvidenceError(f"examples is a {type(examples).__name__}; give a list of Examples.")
    given = tuple(_read_example(number, one) for number, one in enumerate(examples))
    seen: dict[str, int] = {}
    for number, example in enumerate(given):
        first = seen.setdefault(example.model_dump_json(), number)
        if first != number:
            raise EvidenceError(
                f"examples[{number}] is the same as examples[{first}], and would count twice. "
                "Leave one of them out."
            )
    return given


def _read_example(number: int, given: Any) -> Example:
    if isinstance(given, Example):
        return given
    if isinstance(given, tuple) and len(given) == len(_PAIR):
        given = dict(zip(_PAIR, given, strict=True))
    if not isinstance(given, Mapping):
        raise EvidenceError(
            f"examples[{number}] is a {type(given).__name__}; give an Example, a dict of its "
            "fields, or a pair of question and accepted answer."
        )
    if unknown := unknown_names(Example, given):
        raise EvidenceError(f"examples[{number}]: {unknown}")
    try:
        return Example(**given)
    except AmuletError as error:
        raise EvidenceError(f"examples[{number}]: {error}") from None


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


def check_enough(count: int, least: int, what: str) -> None:
    """Refuses a handful of answers, however long they are.

    Raises:
        EvidenceError: Fewer than `least`.
    """
    if count < least:
        raise EvidenceError(
            f"Too little to learn from: {count} {what}, fewer than min_examples={least}. So few "
            "hardly tell how much answers differ. Give more."
        )


def check_type(name: str, value: Any, kind: type[Any], wanted: str) -> None:
    """Refuses a value of another type.

    Raises:
        InvalidParamsError: It is one.
    """
    if not isinstance(value, kind):
        raise InvalidParamsError(f"{name} is a {type(value).__name__}; give {wanted}.")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
