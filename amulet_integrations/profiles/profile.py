"""A user's profile, and one change of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.preference_gate import Gate
from amulet_integrations.decoding.strength import GuidanceScale, MaxKL, Method, PresetName, Strength
from amulet_integrations.errors import AmuletError, InvalidProfileError, errors_at
from amulet_integrations.validation import FrozenModel

from .field_types import Label, Moment
from .preference import Preference

Action = Literal["save", "delete", "restore", "import"]


class PreferenceProfile(FrozenModel):
    """A user's preferences, and how strongly and by which method they are applied.

    Instances are frozen and hashable, and their JSON form is exact. The texts of the preferences
    are private: neither `repr` nor any error message shows them.

    Attributes:
        user_id: The user: 1 to 256 characters, without control characters.
        preferences: What the user prefers; no two have the same name. A list or a tuple of
            preferences, in which a plain string is a preference of that text.
        guidance_scale: How strongly the preferences are applied, as in classifier-free guidance.
            `params` or `preset` may be given in its place. Without any of them, the caller
            decides.
        params: The strength as parameters of Amulet's game.
        preset: The strength by name: "gentle", "default", "strong" or "paper".
        max_kl: The bound on what the strength may do to a token, in nats. None means no bound;
            "default" leaves it to the preset or the caller.
        gate: Leaves preferences out of answers that they have nothing to do with: "similarity",
            or a `PreferenceGate` with a threshold. None means no gate;
            "default" leaves it to the caller, and is not written into the JSON form.
        method: How to decode; None leaves it to the caller.
        parent: The id of another profile, such as ``"organisation"``, whose preferences apply too
            unless one here has the same name; see `inheritance.inherited`. The operator says who
            may be a parent, by `ProfileLimits.parents`; by default nobody may.
        version: How many times the profile has been stored; 0 means never. The store sets it.
        updated_at: When it was stored (with a time zone; kept in UTC). The store sets it.

    Raises:
        InvalidProfileError: A value is out of its range.
        InvalidParamsError: A strength or bound is out of its range, or two strengths are given.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    user_id: Label
    preferences: tuple[Preference, ...] = ()
    guidance_scale: GuidanceScale = None
    params: AmuletParams | None = None
    preset: PresetName | None = None
    max_kl: MaxKL = "default"
    gate: Gate = Field(default="default", exclude_if=lambda gate: gate == "default")
    method: Method | None = None
    parent: Label | None = None
    version: int = Field(default=0, ge=0)
    updated_at: Moment | None = None

    @model_validator(mode="after")
    def _check_parent_and_strength(self) -> Self:
        Strength.of(self)
        if self.parent == self.user_id:
            raise InvalidProfileError(
                f"parent={self.parent!r} is the profile itself; give another one, or None."
            )
        return self

    @property
    def strength(self) -> Strength:
        """How strongly the preferences are applied, as far as the profile sets it."""
        return Strength.of(self)

    def with_strength(self, guidance_scale: float, max_kl: MaxKL) -> Self:
        """A copy with this scale and bound in place of its own, to be saved; its version is kept.

        They replace its `params` or `preset` too. Its method becomes "amulet" if it was another
        one, for only "amulet" reads a scale.

        Raises:
            InvalidParamsError: The scale or the bound is out of its range.
        """
        strength = Strength(guidance_scale=guidance_scale, max_kl=max_kl, gate=self.gate)
        method = {} if self.method is None else {"method": "amulet"}
        return self.model_copy(update=dict(strength) | method)

    # Before pydantic's own check, because that one quotes the texts in its message.
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


class ProfileChange(FrozenModel):
    """A change of a profile: one entry of its history.

    Where the database is damaged, `problem` describes it, and fields that cannot be read are None.

    Attributes:
        user_id: The user whose profile was changed.
        version: The version that the change made. A deletion counts as a version too.
        at: When the change was made, in UTC.
        by: Who made it; None if that was not given.
        action: "save" (also by `update`), "delete", "restore" or "import". A profile from before
            there was a history begins with "import".
        profile: The profile after the change; None after a deletion.
        problem: What is wrong with this entry; None for a sound one.

    Raises:
        InvalidProfileError: A value is out of its range.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    user_id: Label
    version: int = Field(ge=0)
    at: Moment | None
    by: Label | None = None
    action: Action | None
    profile: PreferenceProfile | None = None
    problem: str | None = None


def _read_preference(place: int, item: Any) -> Any:
    if isinstance(item, Preference | dict):
        return item
    with errors_at(f"[{place}]"):
        if isinstance(item, str):
            return Preference(text=item)
        raise InvalidProfileError(
            f"preferences[{place}] is a {type(item).__name__}; give a Preference or a string."
        )
