"""Whose preferences hold in a block of code, for callers that cannot pass them as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import MaxKL, PresetName, Strength
from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile


@dataclass(frozen=True)
class PreferenceScope:
    """Whose preferences hold, and under which circumstances.

    At most one of the first three is not None; all are where only the circumstances are told.

    Attributes:
        user_id: A user whose profile a store holds.
        preference: One preference, of nobody in particular.
        profile: A whole profile.
        preference_context: What the calls inside are about, for preferences that have a `when`.
        strength: How strongly the preferences are applied inside.
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
        """The id of the user who is named, also by a profile; None for nobody in particular."""
        return self.profile.user_id if self.profile else self.user_id


class Level(Protocol):
    """One of the places that may say whose preferences hold and what the call is about."""

    @property
    def is_set(self) -> bool:
        """Whether it names a user, a preference or a profile."""

    @property
    def effective_user_id(self) -> str | None:
        """The id of the user that it names; None for nobody in particular."""

    @property
    def preference_context(self) -> PreferenceContext:
        """What it tells about the call."""

    @property
    def strength(self) -> Strength:
        """How strongly preferences are applied."""


def merge_contexts(chosen: Level, levels: Iterable[Level]) -> tuple[PreferenceContext, Strength]:
    """What levels tell about a call; one that names another user tells nothing of it.

    Args:
        chosen: The level whose user is followed.
        levels: All of them, the one whose values count most first.
    """
    context, strength = PreferenceContext(), Strength()
    user_id = chosen.effective_user_id
    for level in levels:
        same_user = user_id is not None and level.effective_user_id == user_id
        if level is chosen or same_user or not level.is_set:
            context = context.over(level.preference_context)
            strength = strength.over(level.strength)
    return context, strength


# The scopes entered and not yet left, outermost first. Every task and thread has its own value.
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
    """Says whose preferences hold inside a ``with`` block.

    It is a context variable: it reaches what is called inside the block, awaited there, or
    started there as an asyncio task, and no other task or thread. The innermost block that names
    somebody counts. What the blocks tell about the calls and of the strength is put together, the
    innermost value before the others; one that names another user tells nothing. No store is read
    here.

        with preference_scope(user_id="ann", preference_context={"locale": "de"}):
            query_engine.query("What is new?")

    The strength goes before the one of the user's profile.

    Args:
        user_id: A user whose profile the model's store holds.
        preference: One preference; a string stands for a preference of that text.
        profile: A whole profile.
        preference_context: What the calls inside are about, such as ``{"topic": "health"}``, for
            preferences that have a `when`.
        guidance_scale: How strongly the preferences are applied, as in classifier-free guidance.
        params: The same as parameters of Amulet's game.
        preset: The same by name: "gentle", "default", "strong" or "paper".
        max_kl: The bound on what the strength may do to a token, in nats; None is no bound.

    Returns:
        A context manager that gives the scope.

    Raises:
        PreferenceSelectionError: More than one of the first three is given, or nothing at all, or
            one of a wrong type.
        InvalidProfileError: The user id, the text of the preference or the context is not valid.
        InvalidParamsError: The strength or the bound is out of its range, or told twice.
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
    return _Block(PreferenceScope(user_id, preference, profile, context, strength))


def current_scope() -> PreferenceScope | None:
    """Returns what the `preference_scope` blocks around the caller say; None outside of all."""
    scopes = _scopes.get()
    if not scopes:
        return None
    chosen = next((it for it in reversed(scopes) if it.is_set), scopes[-1])
    context, strength = merge_contexts(chosen, reversed(scopes))
    if context == chosen.preference_context and strength == chosen.strength:
        return chosen
    return replace(chosen, preference_context=context, strength=strength)


class _Block(AbstractContextManager[PreferenceScope]):
    """Puts its scope on the stack, and takes it off again wherever it is then.

    A block may be left in another context than the one it was entered in (an async generator that
    the event loop closes), or before a block inside it (two generators in turns). So leaving
    takes away this scope and nothing else, where a `ContextVar.reset` would raise or bring back
    somebody else's.
    """

    def __init__(self, scope: PreferenceScope) -> None:
        self._scope = scope

    def __enter__(self) -> PreferenceScope:
        _scopes.set((*_scopes.get(), self._scope))
        return self._scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scopes = _scopes.get()
        for place in reversed(range(len(scopes))):
            if scopes[place] is self._scope:
                _scopes.set(scopes[:place] + scopes[place + 1 :])
                return


def _check_type(name: str, value: object, kind: type, expected: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {expected}.")
