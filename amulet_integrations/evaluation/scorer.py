"""What a score is to an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from amulet_integrations.evaluation.records import Answer, Preference


class Scorer(Protocol):
    """Measures answers. What it says is kept under its name, and not asked for again on resuming.

    Attributes:
        name: Tells apart what is measured; where a model measures, its name is part of it.
    """

    @property
    def name(self) -> str:
        """See the class."""

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers, each by itself.

        Args:
            answers: Some of the answers of a run.
            preferences: Every preference of the run, by its name.

        Returns:
            For each answer its scores by name; one that does not apply is left out.
        """
