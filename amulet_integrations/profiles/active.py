"""Which of a user's preferences apply now, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from amulet_integrations.profiles.instants import as_utc
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile


@dataclass(frozen=True)
class Verdict:
    """Whether a preference is in force.

    Attributes:
        preference: The preference.
        user_id: The profile that it stands in: the user's own, or one that it inherits from.
        obstacle: Why it is not in force, in a few words; None where it is.
    """

    preference: Preference
    user_id: str
    obstacle: str | None

    @property
    def holds(self) -> bool:
        """Whether the preference is in force."""
        return self.obstacle is None


def active_preferences(
    preferences: Iterable[Preference], at: datetime, context: Mapping[str, str] | None = None
) -> tuple[Preference, ...]:
    """Picks the preferences that apply at a moment, in their order.

    Args:
        preferences: Preferences to choose from.
        at: The moment, with a time zone.
        context: What the call says about itself, such as ``{"task": "email"}``.

    Returns:
        Those of a weight other than 0 whose `valid_from` has come, whose `valid_until` has not,
        and whose `when` is met by `context`.

    Raises:
        InvalidProfileError: `at` has no time zone.
    """
    moment = as_utc("at", at)
    return tuple(it for it in preferences if _obstacle(it, moment, context or {}) is None)


def explain(
    line: Sequence[PreferenceProfile], at: datetime, context: Mapping[str, str] | None = None
) -> tuple[Verdict, ...]:
    """Says of every preference of a profile and of those above it whether it is in force.

    Args:
        line: The profile, its parent and so on, as by `inheritance.line_of`.
        at: The moment, with a time zone.
        context: What the call says about itself.

    Returns:
        Those furthest up first, as `inheritance.inherited` has them. The preferences that hold are
        ``in_force(inherited(line).preferences, at, context)``.

    Raises:
        InvalidProfileError: `at` has no time zone.
    """
    moment, told = as_utc("at", at), context or {}
    owners: dict[str, str] = {}
    groups = []
    for profile in line:
        whose = profile.user_id
        groups.append([_verdict(it, whose, owners, moment, told) for it in profile.preferences])
        owners = {**{it.name: profile.user_id for it in profile.preferences if it.name}, **owners}
    return tuple(verdict for group in reversed(groups) for verdict in group)


def _verdict(
    preference: Preference,
    user_id: str,
    owners: Mapping[str, str],
    moment: datetime,
    context: Mapping[str, str],
) -> Verdict:
    nearer = owners.get(preference.name or "")
    if nearer is not None:
        return Verdict(preference, user_id, f"overridden by {nearer}'s own {preference.name}")
    return Verdict(preference, user_id, _obstacle(preference, moment, context))


def _obstacle(preference: Preference, moment: datetime, context: Mapping[str, str]) -> str | None:
    """Why a preference does not apply; None where it does."""
    if preference.weight == 0.0:
        return "its weight is 0"
    if preference.valid_from is not None and moment < preference.valid_from:
        return f"it holds from {preference.valid_from.isoformat()}"
    if preference.valid_until is not None and moment >= preference.valid_until:
        return f"it held until {preference.valid_until.isoformat()}"
    unmet = [
        _unmet(name, preference.when[name], context) for name in preference.when.unmet(context)
    ]
    return "; ".join(unmet) or None


def _unmet(name: str, wanted: str, context: Mapping[str, str]) -> str:
    told = repr(context[name]) if name in context else "not told"
    return f"it holds when {name} is {wanted!r}, and {name} is {told}"
