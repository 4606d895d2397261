"""Whose preferences a call follows: the arguments for it, and who wins where several are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import (
    SCALES,
    GuidanceScale,
    MaxKL,
    Method,
    PresetName,
    Strength,
    strength_of_method,
)
from amulet_integrations.errors import AmuletError, InvalidParamsError, PreferenceSelectionError
from amulet_integrations.profiles import Preference, PreferenceProfile
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.scope import PreferenceScope, merge_contexts
from amulet_integrations.validation import FrozenModel

Source = Literal["call", "config", "scope", "constructor"]


class PreferenceSelection(FrozenModel):
    """Whose preferences to follow, and how.

    At most one of the first three attributes is set, and at most one of `guidance_scale`, `params`
    and `preset`.

    Attributes:
        preference: A preference, or its text.
        profile: A whole profile.
        user_id: A user whose profile is in the store.
        guidance_scale: The guidance scale; overrides the profile's and the constructor's.
        params: The same, as Amulet's parameters.
        preset: The same, by name.
        max_kl: The bound on what the guidance may do to a token, in nats; None for no bound.
        method: The method; overrides the profile's and the constructor's.
        preference_context: What the call is about, such as ``{"topic": "health"}``, for
            preferences that have a `when`.
        source: The level that named it; None when nobody is named.

    Raises:
        PreferenceSelectionError: Two of the first three are set, or one is of a wrong type.
        InvalidProfileError: A preference's text, a user id or the context is not valid.
        InvalidParamsError: A strength, a bound or `method` is not valid, two strengths are given,
            or a strength beside a method that takes none.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    preference: Preference | None = Field(default=None, repr=False)
    profile: PreferenceProfile | None = Field(default=None, repr=False)
    user_id: str | None = None
    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    method: Method | None = None
    preference_context: PreferenceContext = PreferenceContext()
    source: Source | None = None

    @field_validator("preference", mode="before")
    @classmethod
    def _read_preference(cls, preference: Any) -> Any:
        if isinstance(preference, str):
            return Preference(text=preference)
        return _of_type("preference", preference, Preference, "a string or a Preference")

    @field_validator("profile", mode="before")
    @classmethod
    def _read_profile(cls, profile: Any) -> Any:
        if isinstance(profile, Mapping):
            return PreferenceProfile(**profile)
        return _of_type("profile", profile, PreferenceProfile, "a PreferenceProfile")

    @field_validator("user_id", mode="before")
    @classmethod
    def _check_user_id(cls, user_id: Any) -> Any:
        return None if user_id is None else checked_label("user_id", user_id)

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        named = self._named
        if len(named) > 1:
            raise PreferenceSelectionError(
                f"{' and '.join(named)} are given together. Name whose preferences to follow in "
                "one way: preference=, profile= or user_id=."
            )
        return self

    @model_validator(mode="after")
    def _check_strength(self) -> Self:
        strength = self.strength
        if strength.says_scale and self.method not in {None, "amulet"}:
            name = next(name for name in SCALES if getattr(self, name) is not None)
            raise InvalidParamsError(
                f"{name}= is given with method={self.method!r}, which has a strength of its own. "
                'Leave one of them out, or use method="amulet".'
            )
        return self

    @property
    def strength(self) -> Strength:
        """The strength, as far as it is set here."""
        return Strength.said_by(self)

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
        names = ("preference", "profile", "user_id")
        return [name for name in names if getattr(self, name) is not None]


def resolve_user(
    call: PreferenceSelection,
    config: PreferenceSelection | None = None,
    scope: PreferenceScope | None = None,
    default: PreferenceSelection | None = None,
    *,
    searchable: bool,
) -> PreferenceSelection:
    """Decides whose preferences a call follows. Reads no store.

    The first level that names somebody wins: the call, the framework's config, the surrounding
    `preference_scope`, the constructor. Their contexts and strengths are merged; where two levels
    set the same name, the first one counts. A level that names another user contributes nothing,
    except for the constructor, whose context is part of every call. Call this when the public
    method is called, because scopes end.

    Args:
        call: The call's own arguments.
        config: The user and the context in LangChain's ``config["configurable"]``.
        scope: The surrounding scope, from `current_scope`.
        default: The constructor's selection, for calls that name nobody.
        searchable: Whether there is a store to look users up in.

    Raises:
        PreferenceSelectionError: A user is named and there is no store.
    """
    default = default or PreferenceSelection()
    scoped = None if scope is None else _from_scope(scope)
    candidates: list[tuple[Source, PreferenceSelection | None]] = [
        ("call", call),
        ("config", config),
        ("scope", scoped),
        ("constructor", default),
    ]
    levels = [(source, level) for source, level in candidates if level is not None]
    source, selected = next(
        ((source, level) for source, level in levels if level.is_set),
        (None, PreferenceSelection()),
    )
    if selected.user_id is not None and not searchable:
        raise PreferenceSelectionError(
            f"user_id={selected.user_id!r} is named ({source}), but there is no place to "
            "look the user up: pass profiles=, a store or a database URL, or name a "
            "preference= or profile= instead."
        )
    context, strength = merge_contexts(selected, [level for _, level in levels])
    return selected.model_copy(
        update={
            "source": source,
            "method": call.method,
            "preference_context": context.over(default.preference_context),
            **dict(strength_of_method(call.method, strength)),
        }
    )


def _from_scope(scope: PreferenceScope) -> PreferenceSelection:
    return PreferenceSelection(
        preference=scope.preference,
        profile=scope.profile,
        user_id=scope.user_id,
        preference_context=scope.preference_context,
        **dict(scope.strength),
    )


def _of_type(name: str, value: Any, wanted: type, described: str) -> Any:
    if value is None or isinstance(value, wanted):
        return value
    raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {described}.")
