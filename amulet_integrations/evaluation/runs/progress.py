"""How far a run has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far one stage of a run has come.

    Attributes:
        stage: "answers", the name of a scorer, or "judge" and the name of a judge.
        done: Answers given or measured, or pairs judged.
        total: How many there are.
        share: How much of the work that is, from 0 to 1: answers cost more by some methods than
            by others.
    """

    stage: str
    done: int
    total: int
    share: float


ProgressCallback = Callable[[Progress], None]
