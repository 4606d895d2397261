"""All that is kept about one user."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import GuidanceScale, MaxKL, Method, PresetName, Strength
from amulet_integrations.errors import AmuletError, InvalidProfileError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.instants import Instant
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.validation import FrozenModel


class PreferenceProfile(FrozenModel):
    """A user's preferences, and how strongly and by which method they are applied.

    Instances are frozen and hashable, and JSON holds them exactly. The texts of the preferences
    are private: neither `repr` nor any error message shows them.

    Attributes:
        user_id: Who it is: 1 to 256 characters, without control characters.
        preferences: What the user prefers; no two with the same name. A list or a tuple of
            preferences, where a plain string stands for a preference of that text.
        guidance_scale: How strongly the preferences are applied, as in classifier-free guidance;
            or `params` or `preset` in its place. None of them leaves it to the caller.
        params: The same as parameters of Amulet's game.
        preset: The same by name: "gentle", "default", "strong" or "paper".
        max_kl: The bound on what the strength may do to a token, in nats; None is no bound, and
            "default" leaves it to the preset or the caller.
        method: How to decode; None leaves that to the caller.
        parent: The id of another profile, such as ``"organisation"``, whose preferences hold too
            unless one here has the same name; see `inheritance.inherited`. A parent's preferences
            shape this user's answers, so name profiles that are meant to be shared.
        version: How many times the profile has been stored; 0 means never. Stores count it.
        updated_at: When it was stored (with a time zone; kept in UTC). Stores set it.

    Raises:
        InvalidProfileError: A value is out of its range.
        InvalidParamsError: A strength or bound is out of its range, or two strengths are given.
    """

    model_config = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    user_id: str
    preferences: tuple[Preference, ...] = ()
    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    method: Method | None = None
    parent: str | None = None
    version: int = Field(default=0, ge=0)
    updated_at: Instant | None = None

    @field_validator("user_id", mode="before")
    @classmethod
    def _check_user_id(cls, user_id: Any) -> str:
        return checked_label("user_id", user_id)

    @field_validator("parent", mode="before")
    @classmethod
    def _check_parent(cls, parent: Any) -> str | None:
        return None if parent is None else checked_label("parent", parent)

    @model_validator(mode="after")
    def _check_own_parent(self) -> Self:
        if self.parent == self.user_id:
            raise InvalidProfileError(
                f"parent={self.parent!r} is the profile itself; give another one, or None."
            )
        return self

    @model_validator(mode="after")
    def _check_strength(self) -> Self:
        Strength.of(self)
        return self

    @property
    def strength(self) -> Strength:
        """What the profile says of the strength."""
        return Strength.of(self)

    # Before pydantic's own check, whose message would quote the texts.
    @field_validator("preferences", mode="before")
    @classmethod
    def _read_preferences(cls, preferences: Any) -> tuple[Any, ...]:
        if isinstance(preferences, str | Preference):
            preferences = (preferences,)
        if not isinstance(preferences, list | tuple):
            raise InvalidProfileError(
                f"preferences is a {type(preferences).__name__}; give a list of preferences."
            )
        return tuple(_read_preference(place, item) for place, item in enumerate(preferences))

    @field_validator("preferences")
    @classmethod
    def _check_names(cls, preferences: tuple[Preference, ...]) -> tuple[Preference, ...]:
        names = Counter(preference.name for preference in preferences if preference.name)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise InvalidProfileError(
                f"more than one preference is named {twice[0]!r}; give each its own name."
            )
        return preferences


def _read_preference(place: int, item: Any) -> Any:
    if isinstance(item, str):
        return Preference(text=item)
    if isinstance(item, Preference | dict):
        return item
    raise InvalidProfileError(
        f"preferences[{place}] is a {type(item).__name__}; give a Preference or a string."
    )
