"""What the model itself says of answers: how much they follow the preference, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.evaluation.runs.cases import Case
from amulet_integrations.evaluation.runs.records import Answer, Preference

PREFERENCE_RATIO = "preference_ratio"
"""The mean of log P(token|pref) - log P(token|base) over an answer's tokens, in nats."""

FLUENCY = "fluency_nll"
"""The mean of -log P(token|base) over an answer's tokens, in nats: lower is more fluent."""

PREF_NLL = "pref_nll"
"""The mean of -log P(token|pref) over an answer's tokens, in nats: what guidance costs."""

BROKEN = "broken"
"""1 where an answer is broken, else 0."""

BROKEN_NLL = 1.6
"""The `pref_nll` above which an answer counts as broken, in nats a token.

It is this package's own yardstick, and no threshold of the literature: of the embedded model's
answers, those that read well are below it and nonsense is far above.
"""

LIKELIHOODS = "likelihoods"
"""What the scorer is called; no other one may be."""


class LikelihoodScorer:
    """Scores that need no second model.

    The preference ratio is the very thing that Amulet raises, under the very model that it raises
    it with: it tells how far an answer was steered, and is no proof that it is better. What the
    steering costs is told by `pref_nll`: the price, in nats per token, at which the model that is
    told the preference would have written the answer, and by `fluency_nll`, the same of the model
    that is not. An answer is broken where `pref_nll` is above `BROKEN_NLL`. An answer without
    tokens is broken too, for nobody is served by it, and has none of the other scores.

    Args:
        engine: The engine that gave the answers.
        cases: What they answer.
    """

    name = LIKELIHOODS
    score_names = (PREFERENCE_RATIO, FLUENCY, PREF_NLL, BROKEN)

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
            return completed({})
        scored = self._engine.score(self._contexts[answer.key], answer.token_ids)
        base, pref = (float(total) / len(answer.token_ids) for total in scored.double().sum(dim=1))
        return completed({PREFERENCE_RATIO: pref - base, FLUENCY: -base})


def completed(scores: Mapping[str, float]) -> dict[str, float]:
    """All scores of the likelihoods' scorer, of those that its first versions kept.

    Args:
        scores: The preference ratio and the fluency, or more; nothing for an answer without
            tokens.
    """
    if FLUENCY not in scores or PREFERENCE_RATIO not in scores:
        return {**scores, BROKEN: 1.0}
    nll = scores.get(PREF_NLL, scores[FLUENCY] - scores[PREFERENCE_RATIO])
    return {**scores, PREF_NLL: nll, BROKEN: float(nll > BROKEN_NLL)}
