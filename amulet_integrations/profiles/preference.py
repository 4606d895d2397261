"""One thing that a user prefers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from amulet_integrations.errors import AmuletError, InvalidProfileError
from amulet_integrations.validation import FrozenModel

from .conditions import Conditions
from .field_types import Label, Moment, PreferenceText

PreferenceKind = Literal["style", "topic"]


class Preference(FrozenModel):
    """What a user likes, in the user's own words, and when it applies.

    Instances are frozen and hashable. The text is private: neither `repr` nor any error message
    shows it.

    Attributes:
        text: The preference, such as "Be brief.": 1 to 2,000 characters after white space at both
            ends is cut off. The environment variable AMULET_MAX_PREFERENCE_CHARS sets another
            maximum. Of the control characters, only line feeds and tabs are allowed.
        weight: From -1 to 1. 1 applies the preference in full, 0.5 half as strongly, a negative
            weight steers away from it, and 0 switches it off.
        name: A label that is unique among the user's preferences, 1 to 256 characters.
        valid_from: The preference applies from this moment on (with a time zone; stored in UTC).
        valid_until: It no longer applies at this moment (with a time zone; stored in UTC).
        when: It applies where the context of the call has all of these values, such as
            ``{"task": "email"}``. Empty means everywhere.
        kind: What a gate takes it for: "style" belongs into every answer, "topic" into those whose
            question has to do with it. None leaves it to the model, and is written nowhere.

    Raises:
        InvalidProfileError: A value is out of its range.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    text: PreferenceText
    weight: float = Field(default=1.0, ge=-1.0, le=1.0, allow_inf_nan=False)
    name: Label | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    when: Conditions = Conditions()
    kind: PreferenceKind | None = Field(default=None, exclude_if=lambda kind: kind is None)

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise InvalidProfileError(
                f"valid_until={self.valid_until.isoformat()} is not after "
                f"valid_from={self.valid_from.isoformat()}; give a later one."
            )
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, f"<{len(self.text):,} characters>" if name == "text" else value
