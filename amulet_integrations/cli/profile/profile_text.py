"""A profile as text, for its owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from amulet_integrations.cli.terminal import quoted_if_odd, short_number
from amulet_integrations.profiles import Preference, PreferenceProfile


def format_profile(profile: PreferenceProfile) -> str:
    """Everything that a profile contains, the texts of the preferences included."""
    return "\n".join([quoted_if_odd(profile.user_id), *(f"  {line}" for line in _lines(profile))])


def format_time(moment: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return "at an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def preference_lines(marker: str, preference: Preference, notes: Iterable[str]) -> Iterator[str]:
    """A preference as lines: its name and text after a marker, and notes in parentheses."""
    indent = " " * (len(marker) + 1)
    label = f"{preference.name}: " if preference.name else ""
    first, *further = preference.text.splitlines()
    yield f"{marker} {label}{first}"
    yield from (f"{indent}{line}" for line in further)
    yield from (f"{indent}({note})" for note in notes)


def _lines(profile: PreferenceProfile) -> Iterator[str]:
    yield f"version      {profile.version}, {format_time(profile.updated_at)}"
    if profile.parent is not None:
        yield f"inherits     from {quoted_if_odd(profile.parent)}"
    yield f"method       {profile.method or 'left to the caller'}"
    yield f"strength     {_strength(profile)}"
    yield "preferences" if profile.preferences else "preferences  none"
    for place, preference in enumerate(profile.preferences, start=1):
        yield from preference_lines(f"  {place}.", preference, _notes(preference))


def _strength(profile: PreferenceProfile) -> str:
    strength = profile.strength
    parts: list[str] = []
    if strength.has_scale:
        scale = f"guidance scale {short_number(strength.settled().guidance_scale)}"
        if strength.preset is not None:
            scale = f"{strength.preset} ({scale})"
        if (params := strength.params) is not None:
            alpha, lambda_, eta = map(short_number, (params.alpha, params.lambda_, params.eta))
            scale += (
                f" (iterations {params.iterations}, alpha {alpha}, lambda {lambda_}, eta {eta})"
            )
        parts.append(scale)
    if strength.bound is None:
        parts.append("no bound")
    elif strength.bound != "default":
        parts.append(f"KL ≤ {short_number(strength.bound)} nats a token")
    return ", ".join(parts) or "left to the caller"


def _notes(preference: Preference) -> Iterator[str]:
    if preference.kind:
        yield preference.kind
    if preference.weight != 1.0:
        yield f"weight {short_number(preference.weight)}"
    if preference.valid_from:
        yield f"from {format_time(preference.valid_from)}"
    if preference.valid_until:
        yield f"until {format_time(preference.valid_until)}"
    if preference.when:
        yield "when " + ", ".join(f"{name} is {value}" for name, value in preference.when.items())
