"""Whose preferences a call follows: how callers say it, and who wins when several do."""

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
    applicable_strength,
)
from amulet_integrations.errors import AmuletError, InvalidParamsError, PreferenceSelectionError
from amulet_integrations.profiles import Preference, PreferenceProfile, current_scope
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.scope import merge_contexts
from amulet_integrations.validation import FrozenModel

Source = Literal["call", "config", "scope", "constructor"]


class PreferenceSelection(FrozenModel):
    """Whose preferences to follow, when and how: at most one of the first three is set.

    Attributes:
        preference: A preference, or its text.
        profile: A whole profile.
        user_id: A user whose profile is in the store.
        guidance_scale: The strength, in place of the profile's or the constructor's; or `params`
            or `preset`.
        params: The same as Amulet's parameters.
        preset: The same by name.
        max_kl: The bound on what the strength may do to a token, in place of the others'.
        method: The method, in place of the profile's or the constructor's.
        preference_context: What the call is about, such as ``{"topic": "health"}``, for
            preferences that have a `when`.
        source: Which level named it; None when nobody is named.

    Raises:
        PreferenceSelectionError: Two of the first three are set, or one is of a wrong type.
        InvalidProfileError: A preference's text, a user id or the context is not valid.
        InvalidParamsError: A strength, a bound or `method` is not one, two strengths are given,
            or one beside a method that takes none.
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
        if strength.has_scale and self.method not in {None, "amulet"}:
            name = next(name for name in SCALES if getattr(self, name) is not None)
            raise InvalidParamsError(
                f"{name}= is given with method={self.method!r}, which has a strength of its own. "
                'Leave one of them out, or use method="amulet".'
            )
        return self

    @property
    def strength(self) -> Strength:
        """How strongly the preferences are applied, as far as it is said here."""
        return Strength.of(self)

    @property
    def is_set(self) -> bool:
        """Whether a preference, a profile or a user is set."""
        return bool(self._named)

    @property
    def person(self) -> str | None:
        """The id of the user who is named, also by a profile; None for nobody in particular."""
        return self.profile.user_id if self.profile else self.user_id

    @property
    def _named(self) -> list[str]:
        names = ("preference", "profile", "user_id")
        return [name for name in names if getattr(self, name) is not None]


def select(
    call: PreferenceSelection,
    config: PreferenceSelection | None = None,
    *,
    default: PreferenceSelection,
    searchable: bool,
) -> PreferenceSelection:
    """Decides whose preferences a call follows, reading no store.

    The first that names somebody wins: the call, the framework's config, the surrounding
    `preference_scope`, the constructor. What they tell about the call is put together; where two
    of them give a name, the value of the one that comes first counts. One that names another user
    than the one who is followed tells nothing of this call, but the constructor, whose context is
    every call's. To be called when the public method is, since scopes end.

    Args:
        call: What the call's own arguments say.
        config: The user and the context in LangChain's ``config["configurable"]``.
        default: The constructor's choice, for calls that name nobody.
        searchable: Whether there is a store to look users up in.

    Raises:
        PreferenceSelectionError: An explicitly named user cannot be looked up, because there
            is no store.
    """
    levels = _levels(call, config, default)
    source, chosen = next(
        ((name, it) for name, it in levels if it.is_set), (None, PreferenceSelection())
    )
    if chosen.user_id is not None and not searchable:
        raise PreferenceSelectionError(
            f"user_id={chosen.user_id!r} is named ({source}), but there is no place to "
            "look the user up: pass profiles=, a store or a database URL, or name a "
            "preference= or profile= instead."
        )
    told, strength = merge_contexts(chosen, [level for _, level in levels])
    # The constructor's is every call's, whomever it names; it comes last in any case.
    context = told.over(default.preference_context)
    settled = {"source": source, "method": call.method, "preference_context": context}
    return chosen.model_copy(update={**settled, **dict(applicable_strength(call.method, strength))})


def _levels(
    call: PreferenceSelection, config: PreferenceSelection | None, default: PreferenceSelection
) -> list[tuple[Source, PreferenceSelection]]:
    """What each level says, the one that counts most first."""
    levels: list[tuple[Source, PreferenceSelection]] = [("call", call)]
    if config is not None:
        levels.append(("config", config))
    if (scope := current_scope()) is not None:
        scoped = {**vars(scope), **dict(scope.strength)}
        del scoped["strength"]
        levels.append(("scope", PreferenceSelection(**scoped)))
    return [*levels, ("constructor", default)]


def _of_type(name: str, value: Any, wanted: type, described: str) -> Any:
    if value is None or isinstance(value, wanted):
        return value
    raise PreferenceSelectionError(f"{name} is a {type(value).__name__}; give {described}.")
