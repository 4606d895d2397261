"""One thing that a user prefers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from amulet_integrations.errors import AmuletError, InvalidProfileError
from amulet_integrations.profiles.characters import check_characters, checked_label
from amulet_integrations.profiles.conditions import Conditions
from amulet_integrations.profiles.instants import Instant
from amulet_integrations.profiles.limits import VARIABLE, is_too_long, longest_text
from amulet_integrations.validation import FrozenModel


class Preference(FrozenModel):
    """What a user likes, in the user's own words, and when it applies.

    Instances are frozen and hashable. The text is private: neither `repr` nor any error message
    shows it.

    Attributes:
        text: The preference, such as "Be brief."; 1 to 2,000 characters (or as many as the
            environment variable AMULET_MAX_PREFERENCE_CHARS says) after white space at both ends
            is cut off. Of the control characters, only line feeds and tabs may be in it.
        weight: From -1 to 1. 1 applies it in full, 0.5 half as strong, a negative weight steers
            away from it, and 0 switches it off.
        name: A label to tell it from the user's others, 1 to 256 characters.
        valid_from: It applies from this moment on (with a time zone; kept in UTC).
        valid_until: It no longer applies at this moment (with a time zone; kept in UTC).
        when: It applies where the context of the call has all of these values, such as
            ``{"task": "email"}``; empty: everywhere.

    Raises:
        InvalidProfileError: A value is out of its range.
    """

    model_config = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    text: str
    weight: float = Field(default=1.0, ge=-1.0, le=1.0, allow_inf_nan=False)
    name: str | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    when: Conditions = Conditions()

    # Before pydantic's own check, whose message would quote the text.
    @field_validator("text", mode="before")
    @classmethod
    def _check_text(cls, text: Any) -> str:
        if not isinstance(text, str):
            raise InvalidProfileError(
                f"the text of a preference is a {type(text).__name__}; give a string."
            )
        check_characters("the text of a preference", text, allowed="\n\t")
        stripped: str = text.strip()
        if not stripped:
            raise InvalidProfileError(
                "the text of a preference is empty; say what the user prefers."
            )
        if is_too_long(stripped):
            raise InvalidProfileError(
                f"the text of a preference has {len(stripped):,} characters; at most "
                f"{longest_text():,} are allowed. Shorten it, or set {VARIABLE}."
            )
        return stripped

    @field_validator("name", mode="before")
    @classmethod
    def _check_name(cls, name: Any) -> str | None:
        return None if name is None else checked_label("name", name)

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
