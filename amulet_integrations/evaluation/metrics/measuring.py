"""Asks scorers about answers, a few at a time, and remembers what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.metrics.likelihoods import (
    LIKELIHOODS,
    LikelihoodScorer,
    completed,
)
from amulet_integrations.evaluation.metrics.scorer import Scorer, read_scores
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.evaluation.runs.names import repeated
from amulet_integrations.evaluation.runs.progress import Progress, ProgressCallback
from amulet_integrations.evaluation.runs.records import (
    BOUNDED_TOKENS,
    Answer,
    CaseKey,
    Preference,
    ScoreLine,
)
from amulet_integrations.evaluation.runs.unique import check_unique

_AT_ONCE = 16
_OURS = ", and that is this package's own"

Measured = dict[CaseKey, dict[str, float]]
"""The scores of answers."""


def check_scorers(scorers: Sequence[Scorer]) -> None:
    """Refuses scorers that cannot be told apart, or that are none; nothing is measured.

    Scorers that have `score_names` are asked for them, so that two of a kind need not wait for
    the answers to be refused.

    Raises:
        EvaluationError: One has no name or no method `score`; two have one name, the likelihoods'
            included; or two say that they give a score of one name.
    """
    for scorer in scorers:
        name = getattr(scorer, "name", None)
        is_made = not isinstance(scorer, type) and callable(getattr(scorer, "score", None))
        if not is_made or not isinstance(name, str) or not name.strip():
            raise EvaluationError(
                f"{scorer!r} is no scorer. Give an object with a name (a text) and a method "
                "score(answers, preferences)."
            )
    twice = repeated([LIKELIHOODS, *(scorer.name for scorer in scorers)])
    if twice is not None:
        raise EvaluationError(
            f"Two scorers are called {twice!r}"
            f"{_OURS if twice == LIKELIHOODS else ''}. Leave one of "
            "them out, or give it another name."
        )
    givers = dict.fromkeys((*LikelihoodScorer.score_names, BOUNDED_TOKENS), LIKELIHOODS)
    for scorer in scorers:
        check_unique(givers, scorer.name, getattr(scorer, "score_names", ()))


def measure_all(
    scorers: Sequence[Scorer],
    answers: Sequence[Answer],
    preferences: Mapping[str, Preference],
    journal: Journal[ScoreLine] | None = None,
    tell: ProgressCallback = lambda _: None,
) -> dict[str, Measured]:
    """What scorers say of answers, one scorer after the other.

    Args:
        scorers: What measures; `check_scorers` has seen them.
        answers: The answers.
        preferences: The preferences by name.
        journal: Where it is kept; what is there already is not asked for again.
        tell: Called after each few answers.

    Returns:
        The scores by the scorers' names.

    Raises:
        EvaluationError: A scorer fails, says something that is no score, or gives a score that
            one before it gives. What was measured before is kept.
    """
    givers: dict[str, str] = {}
    return {
        scorer.name: _measure(scorer, answers, preferences, journal, tell, givers=givers)
        for scorer in scorers
    }


def _measure(
    scorer: Scorer,
    answers: Sequence[Answer],
    preferences: Mapping[str, Preference],
    journal: Journal[ScoreLine] | None,
    tell: ProgressCallback,
    *,
    givers: dict[str, str],
) -> Measured:
    """What one scorer says of answers; its scores are added to the givers."""
    known = journal.lines if journal else []
    wanted = {answer.key for answer in answers}
    found = {
        line.key: scores_of(line)
        for line in known
        if line.scorer == scorer.name and line.key in wanted
    }
    check_unique(givers, scorer.name, _names(found))
    tell(_progress(scorer, found, answers))
    left = [answer for answer in answers if answer.key not in found]
    for start in range(0, len(left), _AT_ONCE):
        some = left[start : start + _AT_ONCE]
        said = _asked(scorer, some, preferences)
        check_unique(givers, scorer.name, _names(said))
        found |= said
        if journal:
            journal.add(*(_line(scorer, answer, said[answer.key]) for answer in some))
        tell(_progress(scorer, found, answers))
    return found


def scores_of(line: ScoreLine) -> dict[str, float]:
    """The scores of a line, also of one that an earlier version wrote."""
    return completed(line.scores) if line.scorer == LIKELIHOODS else line.scores


def _asked(
    scorer: Scorer, answers: Sequence[Answer], preferences: Mapping[str, Preference]
) -> Measured:
    try:
        said = scorer.score(answers, preferences)
    except AmuletError:
        raise
    except Exception as error:  # scorers are somebody else's code
        reason = " ".join(str(error).split())
        raise EvaluationError(
            f"The scorer {scorer.name!r} failed: {type(error).__name__}: {reason}. What an output "
            "folder holds is kept; the same run goes on from there."
        ) from error
    return read_scores(scorer.name, answers, said)


def _names(measured: Measured) -> Iterator[str]:
    return (score for scores in measured.values() for score in scores)


def _progress(scorer: Scorer, found: Measured, answers: Sequence[Answer]) -> Progress:
    done, total = len(found), len(answers)
    return Progress(scorer.name, done, total, done / total if total else 1.0)


def _line(scorer: Scorer, answer: Answer, scores: dict[str, float]) -> ScoreLine:
    return ScoreLine(**answer.key._asdict(), scorer=scorer.name, scores=scores)
