"""Asks scorers about answers, a few at a time, and remembers what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.folder import ScoreLine
from amulet_integrations.evaluation.journal import Journal
from amulet_integrations.evaluation.names import repeated
from amulet_integrations.evaluation.progress import Progress, ProgressCallback
from amulet_integrations.evaluation.records import Answer, CaseKey, Preference
from amulet_integrations.evaluation.scorer import Scorer

_AT_ONCE = 16


def check_scorers(scorers: Sequence[Scorer]) -> None:
    """Refuses two scorers of one name.

    Raises:
        EvaluationError: There are two.
    """
    twice = repeated(scorer.name for scorer in scorers)
    if twice is not None:
        raise EvaluationError(f"Two scorers are called {twice!r}. Leave one of them out.")


def measure(
    scorer: Scorer,
    answers: Sequence[Answer],
    preferences: Mapping[str, Preference],
    journal: Journal[ScoreLine] | None = None,
    tell: ProgressCallback = lambda _: None,
) -> dict[CaseKey, dict[str, float]]:
    """What a scorer says of answers.

    Args:
        scorer: What measures.
        answers: The answers.
        preferences: The preferences by name.
        journal: Where it is kept; what is there already is not asked for again.
        tell: Called after each few answers.

    Raises:
        EvaluationError: The scorer says something that is no score.
    """
    known = journal.lines if journal else []
    wanted = {answer.key for answer in answers}
    found = {
        line.key: line.scores for line in known if line.scorer == scorer.name and line.key in wanted
    }
    total = len(answers)
    tell(Progress(scorer.name, len(found), total, len(found) / total))
    left = [answer for answer in answers if answer.key not in found]
    for start in range(0, len(left), _AT_ONCE):
        some = left[start : start + _AT_ONCE]
        scores = scorer.score(some, preferences)
        _check(scorer, some, scores)
        found |= {answer.key: said for answer, said in zip(some, scores, strict=True)}
        if journal:
            journal.add(*(_line(scorer, answer, found[answer.key]) for answer in some))
        tell(Progress(scorer.name, len(found), total, len(found) / total))
    return found


def _line(scorer: Scorer, answer: Answer, scores: dict[str, float]) -> ScoreLine:
    return ScoreLine(**answer.key._asdict(), scorer=scorer.name, scores=scores)


def _check(
    scorer: Scorer, answers: Sequence[Answer], scores: Sequence[Mapping[str, float]]
) -> None:
    if len(scores) != len(answers):
        raise EvaluationError(
            f"The scorer {scorer.name!r} gave {len(scores)} scores for {len(answers)} answers; it "
            "has to give one dict for each."
        )
    for said in scores:
        for name, value in said.items():
            if not math.isfinite(value):
                raise EvaluationError(
                    f"The scorer {scorer.name!r} says {name}={value}; a score is a finite number, "
                    "and left out where it does not apply."
                )
