"""Tells of contradictions when a profile is written; nothing is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from amulet_integrations.caller_warnings import warn_caller
from amulet_integrations.errors import PreferenceContradictionWarning
from amulet_integrations.profiles.profile import PreferenceProfile

from .contradiction import Contradiction, find_contradictions

_MOST_SHOWN = 5

_told_otherwise: ContextVar[bool] = ContextVar("amulet_contradictions_told", default=False)


def warn_of_contradictions(profile: PreferenceProfile) -> None:
    """Warns of preferences that contradict each other, once for each line and message.

    The warning names the user and the preferences, and quotes none. Where Python is told to make an
    error of it, it is raised before anything is written.

    Args:
        profile: A profile that is about to be stored.
    """
    warn_of_found(profile, contradictions_to_tell(profile))


def contradictions_to_tell(profile: PreferenceProfile) -> tuple[Contradiction, ...]:
    """What `warn_of_contradictions` would warn of. Event loops call this part on a thread."""
    return () if _told_otherwise.get() else find_contradictions(profile.preferences)


def warn_of_found(profile: PreferenceProfile, found: Sequence[Contradiction]) -> None:
    """Warns of contradictions that were found before.

    Args:
        profile: The profile, which is about to be stored.
        found: From `contradictions_to_tell`.
    """
    if found:
        shown = [*map(str, found[:_MOST_SHOWN])]
        if (others := len(found) - _MOST_SHOWN) > 0:
            shown.append(f"and {others:,} more")
        warn_caller(
            f"The profile of {profile.user_id!r:.80} is stored, and no answer can follow all of "
            f"it: {'; '.join(shown)}. Remove one of them, or give them a `when`.",
            PreferenceContradictionWarning,
            once=True,
        )


@contextmanager
def contradictions_told_otherwise() -> Iterator[None]:
    """Keeps stores from warning in the block: its caller tells of contradictions in its own way."""
    token = _told_otherwise.set(True)
    try:
        yield
    finally:
        _told_otherwise.reset(token)
