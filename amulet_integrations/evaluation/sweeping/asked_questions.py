"""Questions that are given as texts."""

from __future__ import annotations

from collections.abc import Iterable

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import Question, find_duplicate

_DATA_SET = "asked"


def as_questions(given: str | Question | Iterable[str | Question]) -> list[Question]:
    """Makes questions of texts, in their order; those that are questions already stay.

    Raises:
        EvaluationError: A text is blank, or is given twice.
    """
    listed = [given] if isinstance(given, str | Question) else list(given)
    twice = find_duplicate(it.strip() for it in listed if isinstance(it, str))
    if twice is not None:
        raise EvaluationError(
            f"The question {twice!r} is given twice, which tells nothing new. Give it once."
        )
    return [
        it if isinstance(it, Question) else Question(data_set=_DATA_SET, index=place, text=it)
        for place, it in enumerate(listed)
    ]
