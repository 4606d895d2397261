"""Which preferences apply in a block of code, for callers that cannot pass them as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import MaxKL, PresetName, Strength
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile


@dataclass(frozen=True)
class PreferenceScope:
    """Which preferences apply in a block, and what the calls in it are about.

    At most one of the first three is set; none is if only the context or the strength is given.

    Attributes:
        user_id: A user whose profile is in the store.
        preference: One preference, which belongs to no user.
        profile: A whole profile.
        preference_context: What the calls are about, for preferences that have a `when`.
        strength: How strongly the preferences are applied.
    """

    user_id: str | None = None
    preference: Preference | None = None
    profile: PreferenceProfile | None = None
    preference_context: PreferenceContext = field(default_factory=PreferenceContext)
    strength: Strength = field(default_factory=Strength)

    @property
    def is_set(self) -> bool:
        """Whether a user, a preference or a profile is set."""
        return any(it is not None for it in (self.user_id, self.preference, self.profile))

    @property
    def effective_user_id(self) -> str | None:
        """The id of the user, or of the profile's user; None if there is neither."""
        return self.profile.user_id if self.profile else self.user_id


class Level(Protocol):
    """One of the places that may select preferences and describe the call."""

    @property
    def is_set(self) -> bool:
        """Whether a user, a preference or a profile is set."""

    @property
    def effective_user_id(self) -> str | None:
        """The id of the user, or of the profile's user; None if there is neither."""

    @property
    def preference_context(self) -> PreferenceContext:
        """What the call is about."""

    @property
    def strength(self) -> Strength:
        """How strongly preferences are applied."""


def merge_contexts(chosen: Level, levels: Iterable[Level]) -> tuple[PreferenceContext, Strength]:
    """Merges the contexts and the strengths of levels.

    A level that selects another user than the chosen one is left out.

    Args:
        chosen: The level whose preferences the call follows.
        levels: All levels, in the order of precedence.
    """
    context, strength = PreferenceContext(), Strength()
    user_id = chosen.effective_user_id
    for level in levels:
        same_user = user_id is not None and level.effective_user_id == user_id
        if level is chosen or same_user or not level.is_set:
            context = context.over(level.preference_context)
            strength = strength.over(level.strength)
    return context, strength


# The scopes of the blocks around the caller, outermost first, for each task and thread.
_scopes: ContextVar[tuple[PreferenceScope, ...]] = ContextVar(
    "amulet_preference_scopes", default=()
)


def preference_scope(
    *,
    user_id: str | None = None,
    preference: str | Preference | None = None,
    profile: PreferenceProfile | None = None,
    preference_context: Mapping[str, str] | None = None,
    guidance_scale: float | None = None,
    params: AmuletParams | None = None,
    preset: PresetName | None = None,
    max_kl: MaxKL = "default",
) -> AbstractContextManager[PreferenceScope]:
    """Sets whose preferences apply inside a ``with`` block.

    The scope is a context variable. It reaches functions that are called or awaited inside the
    block, and asyncio tasks that are started there, but no other task or thread. The innermost
    block that names a user, a preference or a profile counts. The contexts and the strengths of
    all blocks are merged, and inner values take precedence; a block that names another user is
    left out. No store is read here.

        with preference_scope(user_id="ann", preference_context={"locale": "de"}):
            query_engine.query("What is new?")

    The strength takes precedence over the one of the user's profile.

    Args:
        user_id: A user whose profile is in the model's store.
        preference: One preference; a string is a preference of that text.
        profile: A whole profile.
        preference_context: What the calls inside are about, such as ``{"topic": "health"}``, for
            preferences that have a `when`.
        guidance_scale: How strongly the preferences are applied, as in classifier-free guidance.
        params: The same as parameters of Amulet's game.
        preset: The same by name: "gentle", "default", "strong" or "paper".
        max_kl: The bound on what the strength may do to a token, in nats; None means no bound.

    Returns:
        A context manager that returns the scope.

    Raises:
        PreferenceSelectionError: More than one of the first three is given, or nothing at all, or
            one has a wrong type.
        InvalidProfileError: The user id, the text of the preference or the context is not valid.
        InvalidParamsError: The strength or the bound is out of its range, or two strengths are
            given.
    """
    strength = Strength(guidance_scale=guidance_scale, params=params, preset=preset, max_kl=max_kl)
    choices = {"user_id": user_id, "preference": preference, "profile": profile}
    given = [name for name, value in choices.items() if value is not None]
    more = preference_context is not None or strength != Strength()
    if len(given) > 1 or not (given or more):
        raise PreferenceSelectionError(
            f"preference_scope got {' and '.join(given) or 'nothing'}; give one of user_id, "
            "preference and profile, or only a preference_context or a strength."
        )
    if isinstance(preference, str):
        preference = Preference(text=preference)
    if user_id is not None:
        checked_label("user_id", user_id)
    _check_type("preference", preference, Preference, "a string or a Preference")
    _check_type("profile", profile, PreferenceProfile, "a PreferenceProfile")
    context = PreferenceContext(preference_context)
    return _ScopeBlock(PreferenceScope(user_id, preference, profile, context, strength))


def current_scope() -> PreferenceScope | None:
    """Returns the merged scope of the `preference_scope` blocks around the caller, or None."""
    scopes = _scopes.get()
    if not scopes:
        return None
    chosen = next((it for it in reversed(scopes) if it.is_set), scopes[-1])
    context, strength = merge_contexts(chosen, reversed(scopes))
    if context == chosen.preference_context and strength == chosen.strength:
        return chosen
    return replace(chosen, preference_context=context, strength=strength)


class _ScopeBlock(AbstractContextManager[PreferenceScope]):
    """Adds its scope to the context variable, and removes that very scope at the end.

    A block may end in another context than it began in (an async generator that the event loop
    closes), or before a block inside it (two generators that alternate). `ContextVar.reset` would
    then raise an error or restore another block's scopes.
    """

    def __init__(self, scope: PreferenceScope) -> None:
        self._scope = scope

    def __enter__(self) -> PreferenceScope:
        _scopes.set((*_scopes.get(), self._scope))
        return self._scope

    def __exit__(self, *_: object) -> None:
        scopes = _scopes.get()
        for place in reversed(range(len(scopes))):
            if scopes[place] is self._scope:
                _scopes.set(scopes[:place] + scopes[place + 1 :])
                return


def _check_type(name: str, value: object, kind: type, expected: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {expected}.")
