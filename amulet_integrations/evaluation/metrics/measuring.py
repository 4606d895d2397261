"""Calls the scorers of a run, a few answers at a time, and stores their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.data.record_types import (
    BOUNDED_TOKENS,
    Answer,
    Preference,
    Progress,
    ProgressCallback,
    ScoreLine,
    find_duplicate,
)
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.terminal_text import one_line

from .likelihoods import LIKELIHOODS, LikelihoodScorer
from .scorer import Scorer, check_unique, read_scores

_BATCH = 16  # answers that a scorer measures at a time


def check_scorers(scorers: Sequence[Scorer]) -> None:
    """Checks that scorers have the right interface and do not clash. Nothing is measured.

    Raises:
        EvaluationError: A scorer has no name or no method `score`; two scorers have the same
            name, which may also be that of the likelihoods; or the `score_names` of two scorers
            have a name in common.
    """
    for scorer in scorers:
        name = getattr(scorer, "name", None)
        is_instance = not isinstance(scorer, type) and callable(getattr(scorer, "score", None))
        if not is_instance or not isinstance(name, str) or not name.strip():
            raise EvaluationError(
                f"{scorer!r} is no scorer. Give an object with a name (a text) and a method "
                "score(answers, preferences)."
            )
    duplicate = find_duplicate([LIKELIHOODS, *(scorer.name for scorer in scorers)])
    if duplicate is not None:
        builtin = ", and that is this package's own" if duplicate == LIKELIHOODS else ""
        raise EvaluationError(
            f"Two scorers are called {duplicate!r}{builtin}. Leave one of them out, or give it "
            "another name."
        )
    owners = dict.fromkeys((*LikelihoodScorer.score_names, BOUNDED_TOKENS), LIKELIHOODS)
    for scorer in scorers:
        check_unique(owners, scorer.name, getattr(scorer, "score_names", ()))


def measure_all(
    scorers: Sequence[Scorer],
    answers: Sequence[Answer],
    preferences: Mapping[str, Preference],
    journal: Journal[ScoreLine],
    on_progress: ProgressCallback = lambda _: None,
) -> list[ScoreLine]:
    """Measures answers by each scorer in turn.

    Args:
        scorers: The scorers, which `check_scorers` accepted.
        answers: The answers.
        preferences: The preferences by name.
        journal: Where scores are stored. Those that it has already are not measured again.
        on_progress: Called after each few answers.

    Returns:
        The scores of each answer by each scorer, in the order of the scorers.

    Raises:
        EvaluationError: A scorer fails, returns something that is no score, or gives a score that
            an earlier one gives. What was measured before is kept.
    """
    owners: dict[str, str] = {}
    keys, total = {answer.key for answer in answers}, len(answers)
    measured: list[ScoreLine] = []
    for scorer in scorers:
        stored = (it for it in journal.lines if it.scorer == scorer.name and it.key in keys)
        found = list({line.key: line for line in stored}.values())
        _check_lines(owners, found)
        on_progress(Progress(scorer.name, len(found), total, len(found) / total if total else 1.0))
        done = {line.key for line in found}
        missing = [answer for answer in answers if answer.key not in done]
        for start in range(0, len(missing), _BATCH):
            lines = _call(scorer, missing[start : start + _BATCH], preferences)
            _check_lines(owners, lines)
            found += lines
            journal.add(*lines)
            on_progress(Progress(scorer.name, len(found), total, len(found) / total))
        measured += found
    return measured


def _call(
    scorer: Scorer, answers: Sequence[Answer], preferences: Mapping[str, Preference]
) -> list[ScoreLine]:
    try:
        returned = scorer.score(answers, preferences)
    except AmuletError:
        raise
    except Exception as error:  # a scorer may be a user's own code
        raise EvaluationError(
            f"The scorer {scorer.name!r} failed: {type(error).__name__}: {one_line(error)}. What "
            "an output folder holds is kept; the same run goes on from there."
        ) from error
    return read_scores(scorer.name, answers, returned)


def _check_lines(owners: dict[str, str], lines: Iterable[ScoreLine]) -> None:
    for line in lines:
        check_unique(owners, line.scorer, line.scores)
