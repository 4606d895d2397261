"""Which of a user's preferences apply now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from amulet_integrations.profiles.instants import as_utc
from amulet_integrations.profiles.preference import Preference

_NO_CONTEXT: Mapping[str, str] = MappingProxyType({})


def in_force(
    preferences: Iterable[Preference], at: datetime, context: Mapping[str, str] = _NO_CONTEXT
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
    return tuple(
        preference
        for preference in preferences
        if preference.weight != 0.0
        and (preference.valid_from is None or preference.valid_from <= moment)
        and (preference.valid_until is None or moment < preference.valid_until)
        and preference.when.met_by(context)
    )
