"""What each candidate makes of an example, over a range of guidance scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from amulet_integrations.decoding.strength import MaxKL
from amulet_integrations.engine import Engine
from amulet_integrations.learning.candidates import Candidate
from amulet_integrations.learning.choices import curves_of_choice
from amulet_integrations.learning.likelihood import Floats, log_likelihoods
from amulet_integrations.learning.policies import Policy, base_policy, policies_at
from amulet_integrations.learning.spline import spread
from amulet_integrations.learning.tokens import Answer
from amulet_integrations.profiles import Preference

_CONTEXTS = 15  # preference contexts read at once, beside the base


@dataclass(frozen=True, repr=False)
class Rewards:
    """Scores examples for all candidates.

    Attributes:
        engine: What scores.
        candidates: None stands for the base alone.
        scales: The guidance scales that are scored.
        grid: Those that the curves are wanted at, between the first and the last of them.
        temperature: The temperature of the policies.
        max_kl: Their bound.
        slip: The share of tokens that the base writes.
        lapse: The share of choices that are made blindly.
    """

    engine: Engine
    candidates: Sequence[Candidate]
    scales: Sequence[float]
    grid: Floats
    temperature: float
    max_kl: MaxKL
    slip: float
    lapse: float

    def of(self, accepted: Answer | None, rejected: Answer | None) -> Floats:
        """The log-likelihood of an example, in nats, shape (candidates, points of the grid).

        Args:
            accepted: The answer accepted; its contexts are the base's and then one for each
                candidate that is a preference, in order.
            rejected: The answer rejected, with the same contexts.
        """
        if accepted is not None and rejected is None:
            base, gains = self._read(accepted)
            return base + spread(np.array(self.scales), gains, self.grid)
        margin = np.zeros((len(self.candidates), len(self.scales)))
        if accepted is not None:
            margin += self._read(accepted)[1]
        if rejected is not None:
            margin -= self._read(rejected)[1]
        return curves_of_choice(np.array(self.scales), margin, self.grid, self.lapse)

    def _read(self, answer: Answer) -> tuple[float, Floats]:
        """An answer's log P_base, and log P - log P_base, shape (candidates, scales)."""
        base, *preferred = answer.contexts
        preferences = [candidate for candidate in self.candidates if candidate is not None]
        rows: list[Floats] = []
        log_base = 0.0
        for start in range(0, len(preferences), _CONTEXTS):
            stop = start + _CONTEXTS
            part = replace(answer, contexts=[base, *preferred[start:stop]])
            policies = self._policies(preferences[start:stop])
            (found,) = log_likelihoods(self.engine, part, policies, [self.slip], self.temperature)
            log_base, others = float(found[0]), found[1:]
            rows += [*(others.reshape(-1, len(self.scales)) - log_base)]
        gains = iter(rows)
        none = np.zeros(len(self.scales))
        return log_base, np.array([none if it is None else next(gains) for it in self.candidates])

    def _policies(self, preferences: Sequence[Preference]) -> list[Policy]:
        """The base, and then each preference alone at each scale."""
        count = len(preferences)
        return [
            base_policy(1 + count),
            *(
                policy.among(place, count)
                for place, preference in enumerate(preferences)
                for policy in policies_at(self.scales, [preference.weight], self.max_kl)
            ),
        ]
