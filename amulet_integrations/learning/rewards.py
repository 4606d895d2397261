"""What each candidate makes of an example, over a range of guidance scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from amulet_integrations.decoding import preference_weights
from amulet_integrations.engine import Engine
from amulet_integrations.learning.candidates import Candidate
from amulet_integrations.learning.choices import curves_of_choice
from amulet_integrations.learning.likelihood import Floats, log_likelihoods
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
        slip: The share of tokens that the base writes.
        lapse: The share of choices that are made blindly.
    """

    engine: Engine
    candidates: Sequence[Candidate]
    scales: Sequence[float]
    grid: Floats
    temperature: float
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
            mixtures = self._mixtures(preferences[start:stop])
            (found,) = log_likelihoods(self.engine, part, mixtures, [self.slip])
            log_base, others = float(found[0]), found[1:]
            rows += [*(others.reshape(-1, len(self.scales)) - log_base)]
        gains = iter(rows)
        none = np.zeros(len(self.scales))
        return log_base, np.array([none if it is None else next(gains) for it in self.candidates])

    def _mixtures(self, preferences: Sequence[Preference]) -> list[list[float]]:
        """The base, and then each preference alone at each scale."""
        rows = [[1.0, *([0.0] * len(preferences))]]
        for place, preference in enumerate(preferences):
            for scale in self.scales:
                base, own = preference_weights(scale, [preference.weight])
                row = [base, *([0.0] * len(preferences))]
                row[1 + place] = own
                rows.append(row)
        return [[weight / self.temperature for weight in row] for row in rows]
