"""The preferences that a ranking chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.learning.checks import check_number
from amulet_integrations.learning.likelihood import Floats
from amulet_integrations.profiles import Preference

Candidate: TypeAlias = Preference | None


def read_candidates(candidates: Any) -> list[Candidate]:
    """Reads texts and preferences; None stays.

    Raises:
        InvalidParamsError: Fewer than two, two that are the same, or one that is none.
        InvalidProfileError: A text is out of its range.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise InvalidParamsError(
            f"candidates is a {type(candidates).__name__}; give a list of at least two."
        )
    read = [_read(place, candidate) for place, candidate in enumerate(candidates)]
    if len(read) < 2:  # noqa: PLR2004 - a choice
        raise InvalidParamsError(f"{len(read)} candidates leave no choice; give at least two.")
    seen: dict[Any, int] = {}
    for place, candidate in enumerate(read):
        key = candidate and (candidate.text, candidate.weight)
        if key in seen:
            raise InvalidParamsError(
                f"candidates[{place}] is the same as candidates[{seen[key]}]; leave one out."
            )
        seen[key] = place
    return read


def log_priors_of(priors: Any, count: int) -> Floats:
    """The logarithms of priors, made to add up to 1.

    Raises:
        InvalidParamsError: Not one for each candidate, or one that is not above 0 and finite.
    """
    if priors is None:
        return np.full(count, -np.log(count))
    priors = priors.tolist() if hasattr(priors, "tolist") else priors
    if not isinstance(priors, Sequence) or isinstance(priors, str) or len(priors) != count:
        given = len(priors) if isinstance(priors, Sequence) else f"a {type(priors).__name__}"
        raise InvalidParamsError(f"priors: {given} for {count} candidates; give one for each.")
    read = np.array([check_number(f"priors[{i}]", prior, 0.0) for i, prior in enumerate(priors)])
    # In logarithms: neither the sum nor a share of it leaves what floats hold.
    logs: Floats = np.log(read)
    logs -= logs.max()
    return np.asarray(logs - np.log(np.exp(logs).sum()), dtype=np.float64)


def _read(place: int, candidate: Any) -> Candidate:
    if isinstance(candidate, str):
        candidate = Preference(text=candidate)
    if candidate is not None and not isinstance(candidate, Preference):
        raise InvalidParamsError(
            f"candidates[{place}] is a {type(candidate).__name__}; give a text, a Preference or "
            "None."
        )
    if candidate is not None and candidate.weight == 0.0:
        raise InvalidParamsError(
            f"candidates[{place}] has weight 0, which switches it off; give None instead."
        )
    return candidate
