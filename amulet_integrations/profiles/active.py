"""Which preferences of a user are active now, why the others are not, and their contexts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .field_types import as_utc
from .preference import Preference
from .profile import PreferenceProfile


@dataclass(frozen=True)
class Verdict:
    """Whether a preference is active.

    Attributes:
        preference: The preference.
        user_id: The profile that contains it: the user's own, or one that the user inherits from.
        reason: Why it is not active, in a few words; None if it is active.
    """

    preference: Preference
    user_id: str
    reason: str | None

    @property
    def holds(self) -> bool:
        """Whether the preference is active."""
        return self.reason is None

    @property
    def obstacle(self) -> str | None:
        """The former name of `reason`; it goes with the next release."""
        warnings.warn("Verdict.obstacle is now called reason.", DeprecationWarning, stacklevel=2)
        return self.reason


def active_preferences(
    preferences: Iterable[Preference], at: datetime, context: Mapping[str, str] | None = None
) -> tuple[Preference, ...]:
    """Picks the preferences that apply at a moment, in their order.

    Args:
        preferences: The preferences to choose from.
        at: The moment, with a time zone.
        context: What the call is about, such as ``{"task": "email"}``.

    Returns:
        The preferences whose weight is not 0, whose `valid_from` has come, whose `valid_until`
        has not come, and whose `when` is met by `context`.

    Raises:
        InvalidProfileError: `at` has no time zone.
    """
    moment = as_utc("at", at)
    return tuple(it for it in preferences if _reason(it, moment, context or {}) is None)


def explain(
    line: Sequence[PreferenceProfile], at: datetime, context: Mapping[str, str] | None = None
) -> tuple[Verdict, ...]:
    """Explains for every preference of a line of profiles whether it is active.

    Args:
        line: The profile, its parent and so on, as `inheritance.line_of` returns them.
        at: The moment, with a time zone.
        context: What the call is about.

    Returns:
        A verdict for each preference, in the order of `inheritance.inherited`. The preferences
        that hold are ``active_preferences(inherited(line).preferences, at, context)``.

    Raises:
        InvalidProfileError: `at` has no time zone.
    """
    moment, context = as_utc("at", at), context or {}
    owners: dict[str, str] = {}
    groups: list[list[Verdict]] = []
    for profile in line:
        groups.append([])
        for it in profile.preferences:
            owner = owners.get(it.name or "")
            overridden = owner and f"overridden by {owner}'s own {it.name}"
            reason = overridden or _reason(it, moment, context)
            groups[-1].append(Verdict(it, profile.user_id, reason))
        owners = {**{it.name: profile.user_id for it in profile.preferences if it.name}, **owners}
    return tuple(verdict for group in reversed(groups) for verdict in group)


def _reason(preference: Preference, moment: datetime, context: Mapping[str, str]) -> str | None:
    """Why a preference does not apply; None if it applies."""
    if preference.weight == 0.0:
        return "its weight is 0"
    if preference.valid_from is not None and moment < preference.valid_from:
        return f"it holds from {preference.valid_from.isoformat()}"
    if preference.valid_until is not None and moment >= preference.valid_until:
        return f"it held until {preference.valid_until.isoformat()}"
    unmet = []
    for name in preference.when.unmet(context):
        given = repr(context[name]) if name in context else "not given"
        unmet.append(f"it holds when {name} is {preference.when[name]!r}, and {name} is {given}")
    return "; ".join(unmet) or None


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
