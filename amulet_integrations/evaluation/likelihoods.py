"""What the model itself says of answers: how much they follow the preference, and how fluent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amulet_integrations.engine.contract import Engine
from amulet_integrations.evaluation.cases import Case
from amulet_integrations.evaluation.records import Answer, Preference

PREFERENCE_RATIO = "preference_ratio"
"""The mean of log P(token|pref) - log P(token|base) over an answer's tokens, in nats."""

FLUENCY = "fluency_nll"
"""The mean of -log P(token|base) over an answer's tokens, in nats: lower is more fluent."""

LIKELIHOODS = "likelihoods"
"""What the scorer is called; no other one may be."""


class LikelihoodScorer:
    """Scores that need no second model. An answer without tokens has none of them.

    The preference ratio is the very thing that Amulet raises, under the very model that it raises
    it with: it tells how far an answer was steered, and is no proof that it is better. What the
    steering costs is told by the fluency: the price, in nats per token, at which the model without
    the preference would have written the answer.

    Args:
        engine: The engine that gave the answers.
        cases: What they answer.
    """

    name = LIKELIHOODS
    score_names = (PREFERENCE_RATIO, FLUENCY)

    def __init__(self, engine: Engine, cases: Iterable[Case]) -> None:
        self._engine = engine
        self._contexts = {case.key: case.contexts for case in cases}

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - the contexts hold them
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`.

        Raises:
            AmuletError: The engine fails.
        """
        return [self._of(answer) for answer in answers]

    def _of(self, answer: Answer) -> dict[str, float]:
        if not answer.token_ids:
            return {}
        scored = self._engine.score(self._contexts[answer.key], answer.token_ids)
        base, pref = (float(total) / len(answer.token_ids) for total in scored.double().sum(dim=1))
        return {PREFERENCE_RATIO: pref - base, FLUENCY: -base}
