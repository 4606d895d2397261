"""A user's preferences and their strength, estimated from accepted and rejected answers."""

from typing import TYPE_CHECKING, Any

from amulet_integrations._lazy import lazy_exports
from amulet_integrations.errors import MissingDependencyError

if TYPE_CHECKING:
    from amulet_integrations.learning.examples import Example, read_examples
    from amulet_integrations.learning.ranking import (
        PreferenceRanking,
        RankedPreference,
        rank_preferences,
    )
    from amulet_integrations.learning.strength_estimate import (
        StrengthEstimate,
        estimate_strength,
    )

__all__ = [
    "Example",
    "PreferenceRanking",
    "RankedPreference",
    "StrengthEstimate",
    "estimate_strength",
    "rank_preferences",
    "read_examples",
]
_export, __dir__ = lazy_exports(
    __name__,
    {
        ".examples": ("Example", "read_examples"),
        ".strength_estimate": ("StrengthEstimate", "estimate_strength"),
        ".ranking": ("PreferenceRanking", "RankedPreference", "rank_preferences"),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _export(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            raise
        raise MissingDependencyError.for_extra("scipy", "learning") from error
