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
    told = profile.strength
    said: list[str] = []
    if told.preset is not None:
        said.append(f"{told.preset} (guidance scale {number(told.settled().guidance_scale)})")
    elif (params := told.params) is not None:
        said.append(
            f"guidance scale {number(params.guidance_scale)} (iterations {params.iterations}, "
            f"alpha {number(params.alpha)}, lambda {number(params.lambda_)}, "
            f"eta {number(params.eta)})"
        )
    elif told.guidance_scale is not None:
        said.append(f"guidance scale {number(told.guidance_scale)}")
    if told.bound is None:
        said.append("no bound")
    elif told.bound != "default":
        said.append(f"KL ≤ {number(told.bound)} nats a token")
    return ", ".join(said) or "left to the caller"


def _notes(preference: Preference) -> Iterator[str]:
    if preference.weight != 1.0:
        yield f"weight {number(preference.weight)}"
    if preference.valid_from:
        yield f"from {minute(preference.valid_from)}"
    if preference.valid_until:
        yield f"until {minute(preference.valid_until)}"
    if preference.when:
        yield "when " + ", ".join(f"{name} is {value}" for name, value in preference.when.items())
