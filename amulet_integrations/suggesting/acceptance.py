"""Stores the suggestions that a user has confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile, ProfileLimits, ProfileStore
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.stores.access import update_profile

from .suggested_preference import SuggestedPreference

Check = Callable[[str, str], str]
"""Called with the user's id and a preference's text; returns the text to use. A `ValueError` that
it raises refuses the preference."""


def accept_suggestions(
    store: ProfileStore,
    user_id: str,
    suggestions: Iterable[SuggestedPreference],
    *,
    check: Check | None = None,
    by: str | None = None,
    limits: ProfileLimits | None = None,
) -> PreferenceProfile:
    """Adds suggestions to a user's profile: those that the user has confirmed, all or none.

    Args:
        store: The store.
        user_id: The user who confirmed them.
        suggestions: The confirmed ones, from `suggest_preferences`. One whose text the profile has
            is not added again.
        check: The operator's check, as the server's `preference_check`.
        by: Who makes the change, for stores that keep a history.
        limits: What the profile must not exceed; by default the store's limits.

    Returns:
        The profile as stored.

    Raises:
        InvalidProfileError: A suggestion is of another user or no suggestion, or the check refuses
            one; nothing is stored.
        ProfileLimitError: The profile would exceed a limit; nothing is stored.
        ProfileError: The store fails.
    """
    checked_label("user_id", user_id)
    accepted = [_preference(user_id, it, check) for it in suggestions]

    def add(before: PreferenceProfile) -> PreferenceProfile | None:
        known = {it.text.casefold() for it in before.preferences}
        new = [it for it in dict.fromkeys(accepted) if it.text.casefold() not in known]
        if not new:
            return None
        return before.model_copy(update={"preferences": (*before.preferences, *new)})

    return update_profile(store, user_id, add, by=by, limits=limits)


def _preference(user_id: str, suggestion: object, check: Check | None) -> Preference:
    if not isinstance(suggestion, SuggestedPreference):
        raise InvalidProfileError(
            f"A {type(suggestion).__name__} is no suggestion; give some of those that "
            "suggest_preferences returned and the user confirmed."
        )
    if suggestion.user_id != user_id:
        raise InvalidProfileError(
            f"The suggestion {suggestion.id} is of {suggestion.user_id!r:.80}, not of "
            f"{user_id!r:.80}; nothing is stored."
        )
    if check is None:
        return Preference(text=suggestion.text)
    try:
        text = check(user_id, suggestion.text)
    except ValueError as error:
        raise InvalidProfileError(
            f"The suggestion {suggestion.id} is refused: {error}. Nothing is stored."
        ) from None
    return Preference(text=text)
