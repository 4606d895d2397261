"""How the preferences in force share contexts: one for all, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.profiles.preference import Preference


def group_preferences(preferences: Sequence[Preference]) -> tuple[list[str], list[float]]:
    """Texts and weights of the preference contexts.

    Preferences that all have full weight share one context, as in the paper; that is cheaper and
    stronger than a context for each.

    Args:
        preferences: Those in force, in their order.

    Returns:
        The text of each context and its own weight, from -1 to 1; both empty without preferences.
    """
    texts = [preference.text for preference in preferences]
    weights = [preference.weight for preference in preferences]
    if texts and all(weight == 1.0 for weight in weights):
        return ["\n".join(texts)], [1.0]
    return texts, weights
