"""A profile, written out for its owner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from amulet_integrations.cli.screen import number
from amulet_integrations.profiles import Preference, PreferenceProfile


def profile_sheet(profile: PreferenceProfile) -> str:
    """Everything a profile holds, the texts of the preferences included."""
    return "\n".join([profile.user_id, *(f"  {line}" for line in _lines(profile))])


def minute(moment: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return "at an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def _lines(profile: PreferenceProfile) -> Iterator[str]:
    yield f"version      {profile.version}, {minute(profile.updated_at)}"
    if profile.parent is not None:
        yield f"inherits     from {profile.parent}"
    yield f"method       {profile.method or 'left to the caller'}"
    yield f"strength     {_strength(profile)}"
    yield "preferences" if profile.preferences else "preferences  none"
    for place, preference in enumerate(profile.preferences, start=1):
        first, *further = preference.text.splitlines()
        label = f"{preference.name}: " if preference.name else ""
        yield f"  {place}. {label}{first}"
        yield from (f"     {line}" for line in further)
        yield from (f"     ({note})" for note in _notes(preference))


def _strength(profile: PreferenceProfile) -> str:
    params = profile.params
    if params is None:
        return "left to the caller"
    return (
        f"guidance scale {number(params.guidance_scale)} (iterations {params.iterations}, "
        f"alpha {number(params.alpha)}, lambda {number(params.lambda_)}, eta {number(params.eta)})"
    )


def _notes(preference: Preference) -> Iterator[str]:
    if preference.weight != 1.0:
        yield f"weight {number(preference.weight)}"
    if preference.valid_from:
        yield f"from {minute(preference.valid_from)}"
    if preference.valid_until:
        yield f"until {minute(preference.valid_until)}"
    if preference.when:
        yield "when " + ", ".join(f"{name} is {value}" for name, value in preference.when.items())
