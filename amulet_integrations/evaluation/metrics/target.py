"""What can be counted of a preference that no method optimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amulet_integrations.evaluation.metrics.sentiment import SENTIMENT
from amulet_integrations.evaluation.metrics.text_scores import LEXICAL_VARIETY, WORDS

Direction = Literal["more", "fewer"]


@dataclass(frozen=True)
class Aim:
    """The score in which a preference ought to show.

    Attributes:
        score: Its name.
        direction: Whether the preference asks for more of it or for fewer.
    """

    score: str
    direction: Direction

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where fewer is."""
        return 1 if self.direction == "more" else -1


AIMS = {
    "creative": Aim(LEXICAL_VARIETY, "more"),
    "verbose": Aim(WORDS, "more"),
    "concise": Aim(WORDS, "fewer"),
    "uplifting": Aim(SENTIMENT, "more"),
}
"""By the preference's name. A preference that is not here asks for nothing that can be counted."""


def aim_of(preference: str) -> Aim | None:
    """The aim of a preference; None where nothing can be counted.

    Args:
        preference: Its name.
    """
    return AIMS.get(preference)
