"""What accepted and rejected answers say about a user's preferences, told by `Engine.score`."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.learning.example import Example
    from amulet_integrations.learning.ranking import (
        PreferenceRanking,
        RankedPreference,
        rank_preferences,
    )
    from amulet_integrations.learning.reading import read_examples
    from amulet_integrations.learning.strength import StrengthEstimate, estimate_strength

__all__ = [
    "Example",
    "PreferenceRanking",
    "RankedPreference",
    "StrengthEstimate",
    "estimate_strength",
    "rank_preferences",
    "read_examples",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".example": ("Example",),
        ".reading": ("read_examples",),
        ".strength": ("StrengthEstimate", "estimate_strength"),
        ".ranking": ("PreferenceRanking", "RankedPreference", "rank_preferences"),
    },
)
