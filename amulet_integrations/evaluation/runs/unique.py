"""Which scorer gives which score: a table has room for one score of one name."""

from __future__ import annotations

from collections.abc import Iterable

from amulet_integrations.errors import EvaluationError


def check_unique(givers: dict[str, str], scorer: str, scores: Iterable[str]) -> None:
    """Makes scores a scorer's.

    Args:
        givers: Which scorer gives which score; this one's are added.
        scorer: The scorer's name.
        scores: The names of its scores; a name may come again and again.

    Raises:
        EvaluationError: A score of that name is another scorer's.
    """
    for score in scores:
        other = givers.setdefault(score, scorer)
        if other != scorer:
            raise EvaluationError(
                f"The scorers {other!r} and {scorer!r} both give a score {score!r}, and one would "
                "hide the other. Leave one of them out, or let it call its score something else: "
                'a RewardModelScorer by score="reward_2". Of a folder that holds both, read one '
                f"with Evaluation.read(folder, without=[{other!r}])."
            )
