"""Which preferences apply in a block of code, for callers that cannot pass them as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.preference_gate import Gate
from amulet_integrations.decoding.strength import GuidanceScale, MaxKL, PresetName, Strength
from amulet_integrations.errors import AmuletError, InvalidParamsError, PreferenceSelectionError
from amulet_integrations.validation import FrozenModel, suggest_names

from .conditions import PreferenceContext
from .field_types import Label
from .preference import Preference
from .profile import PreferenceProfile

NAMES = ("preference", "profile", "user_id")
"""What names somebody: of these at most one is set."""


class PreferenceScope(FrozenModel):
    """Whose preferences to follow, how strongly, and what the calls are about.

    At most one of the first three attributes is set, and at most one of `guidance_scale`, `params`
    and `preset`.

    Attributes:
        preference: A preference, or its text; it belongs to no user.
        profile: A whole profile.
        user_id: A user whose profile is in the store.
        guidance_scale: The guidance scale; overrides the profile's and the constructor's.
        params: The same, as Amulet's parameters.
        preset: The same, by name.
        max_kl: The bound on what the guidance may do to a token, in nats; None for no bound.
        gate: Leaves preferences out of answers that they have nothing to do with; None for no gate.
        preference_context: What the calls are about, such as ``{"topic": "health"}``, for
            preferences that have a `when`.

    Raises:
        PreferenceSelectionError: Two of the first three are set, or one is of a wrong type.
        InvalidProfileError: A preference's text, a user id or the context is not valid.
        InvalidParamsError: A strength or a bound is not valid, or two strengths are given.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    preference: Preference | None = Field(default=None, repr=False)
    profile: PreferenceProfile | None = Field(default=None, repr=False)
    user_id: Label | None = None
    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    gate: Gate = "default"
    preference_context: PreferenceContext = PreferenceContext()

    @field_validator("preference", mode="before")
    @classmethod
    def _read_preference(cls, preference: Any) -> Any:
        if isinstance(preference, str):
            return Preference(text=preference)
        described = "a string or a Preference"
        if isinstance(preference, list | tuple):
            described += "; several stand in profile=PreferenceProfile(preferences=[…])"
        return _of_type("preference", preference, Preference, described)

    @field_validator("profile", mode="before")
    @classmethod
    def _read_profile(cls, profile: Any) -> Any:
        if isinstance(profile, Mapping):
            return PreferenceProfile(**profile)
        return _of_type("profile", profile, PreferenceProfile, "a PreferenceProfile")

    @model_validator(mode="after")
    def _check_names_and_strength(self) -> Self:
        Strength.of(self)
        named = self._named
        if len(named) > 1:
            raise PreferenceSelectionError(
                f"{' and '.join(named)} are given together. Name whose preferences to follow in "
                "one way: preference=, profile= or user_id=."
            )
        return self

    @property
    def strength(self) -> Strength:
        """The strength, as far as it is set here."""
        return Strength.of(self)

    @property
    def is_set(self) -> bool:
        """Whether a preference, a profile or a user is set."""
        return bool(self._named)

    @property
    def effective_user_id(self) -> str | None:
        """The id of the user, or of the profile's user; None if there is neither."""
        return self.profile.user_id if self.profile else self.user_id

    @property
    def _named(self) -> list[str]:
        return [name for name in NAMES if getattr(self, name) is not None]


Level = TypeVar("Level", bound=PreferenceScope)


def levels_that_count(chosen: PreferenceScope, levels: Iterable[Level]) -> list[Level]:
    """Leaves out the levels that select something else than the chosen one.

    Args:
        chosen: The level whose preferences the call follows.
        levels: All levels.

    Returns:
        The chosen level, those of the same user, and those that select nobody.
    """
    user_id = chosen.effective_user_id
    return [
        level
        for level in levels
        if not level.is_set
        or level == chosen
        or (user_id is not None and level.effective_user_id == user_id)
    ]


def merge_contexts(
    chosen: PreferenceScope, levels: Iterable[PreferenceScope]
) -> tuple[PreferenceContext, Strength]:
    """Merges the contexts and the strengths of those levels that count.

    Args:
        chosen: The level whose preferences the call follows.
        levels: All levels, in the order of precedence.
    """
    context, strength = PreferenceContext(), Strength()
    for level in levels_that_count(chosen, levels):
        context = context.over(level.preference_context)
        strength = strength.over(level.strength)
    return context, strength


# The scopes of the blocks around the caller, outermost first, for each task and thread.
_scopes: ContextVar[tuple[PreferenceScope, ...]] = ContextVar(
    "amulet_preference_scopes", default=()
)


@suggest_names
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
    gate: Gate = "default",
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
        gate: Leaves preferences out of answers that they have nothing to do with: "similarity",
            or a `PreferenceGate` with a threshold; None means no gate.

    Returns:
        A context manager that returns the scope.

    Raises:
        PreferenceSelectionError: More than one of the first three is given, or nothing at all, or
            one has a wrong type.
        UnknownArgumentError: There is no such argument.
        InvalidProfileError: The user id, the text of the preference or the context is not valid.
        InvalidParamsError: The strength or the bound is out of its range, or two strengths are
            given.
    """
    strength = Strength(
        guidance_scale=guidance_scale, params=params, preset=preset, max_kl=max_kl, gate=gate
    )
    choices: dict[str, Any] = {"user_id": user_id, "preference": preference, "profile": profile}
    given = [name for name, value in choices.items() if value is not None]
    more = preference_context is not None or strength != Strength()
    if len(given) > 1 or not (given or more):
        raise PreferenceSelectionError(
            f"preference_scope got {' and '.join(given) or 'nothing'}; give one of user_id, "
            "preference and profile, or only a preference_context or a strength."
        )
    _of_type("profile", profile, PreferenceProfile, "a PreferenceProfile")
    context = PreferenceContext({} if preference_context is None else preference_context)
    return _ScopeBlock(PreferenceScope(**choices, preference_context=context, **dict(strength)))


def current_scope() -> PreferenceScope | None:
    """Returns the merged scope of the `preference_scope` blocks around the caller, or None."""
    scopes = _scopes.get()
    if not scopes:
        return None
    chosen = next((it for it in reversed(scopes) if it.is_set), scopes[-1])
    context, strength = merge_contexts(chosen, reversed(scopes))
    if context == chosen.preference_context and strength == chosen.strength:
        return chosen
    return chosen.model_copy(update={"preference_context": context, **dict(strength)})


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


def _of_type(name: str, value: Any, wanted: type, described: str) -> Any:
    if value is None or isinstance(value, wanted):
        return value
    raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {described}.")
