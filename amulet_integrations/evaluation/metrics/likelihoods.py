"""The likelihoods of answers under the model itself: how far it was steered, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.evaluation.data.record_types import Answer, Preference
from amulet_integrations.evaluation.runs.answer_tasks import AnswerTask

from .builtin_scores import BROKEN, BROKEN_NLL, FLUENCY, PREF_NLL, PREFERENCE_RATIO

LIKELIHOODS = "likelihoods"
"""The name of the scorer, which no other scorer may have."""


class LikelihoodScorer:
    """Scores by the model that gave the answers.

    All are means over the tokens of an answer, in nats per token. `preference_ratio` is
    log P(token | pref) - log P(token | base). It is what Amulet raises, under the model that
    Amulet runs on: it measures how far an answer was steered, and does not prove that the answer is
    better. `pref_nll` is -log P(token | pref), the cost of guidance. `fluency_nll` is
    -log P(token | base). `broken` is 1 for an answer whose `pref_nll` is above `BROKEN_NLL`, and
    otherwise 0. An answer without tokens is broken too, and has none of the other scores.

    Args:
        engine: The engine that gave the answers.
        tasks: The tasks that they answer.
    """

    name = LIKELIHOODS
    score_names: tuple[str, ...] = (PREFERENCE_RATIO, FLUENCY, PREF_NLL, BROKEN)

    def __init__(self, engine: Engine, tasks: Iterable[AnswerTask]) -> None:
        self._engine = engine
        self._contexts = {task.key: task.contexts for task in tasks}

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - the contexts contain them
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`.

        Raises:
            AmuletError: The engine fails.
        """
        return [self._score(answer) for answer in answers]

    def _score(self, answer: Answer) -> dict[str, float]:
        if not answer.token_ids:
            return {BROKEN: 1.0}
        log_probs = self._engine.score(self._contexts[answer.key], answer.token_ids)
        base, pref = (float(it) / len(answer.token_ids) for it in log_probs.double().sum(dim=1))
        return {
            PREFERENCE_RATIO: pref - base,
            FLUENCY: -base,
            PREF_NLL: -pref,
            BROKEN: float(-pref > BROKEN_NLL),
        }
