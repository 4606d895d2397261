"""How the active preferences are grouped into contexts: one for all, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

from amulet_integrations.profiles.preference import Preference


def group_preferences(preferences: Sequence[Preference]) -> tuple[list[str], list[float]]:
    """Groups preferences into contexts, each with its text and its weight.

    If all preferences have weight 1, they share one context, as in the Amulet paper. That is
    cheaper and has a stronger effect than a context for each.

    Args:
        preferences: The active preferences, in their order.

    Returns:
        The text of each context, and its weight from -1 to 1. Both lists are empty if there are
        no preferences.
    """
    texts = [preference.text for preference in preferences]
    weights = [preference.weight for preference in preferences]
    if texts and all(weight == 1.0 for weight in weights):
        return ["\n".join(texts)], [1.0]
    return texts, weights
