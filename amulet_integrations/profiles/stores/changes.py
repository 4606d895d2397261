"""What happened to a profile: one entry of its history."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from amulet_integrations.errors import AmuletError, InvalidProfileError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.instants import Instant
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.validation import FrozenModel

Action = Literal["save", "delete", "restore", "import"]


class ProfileChange(FrozenModel):
    """A change of a profile, as the history keeps it.

    Where the database is damaged, `problem` says so, and what cannot be read any more is None.

    Attributes:
        user_id: Whose profile.
        version: The version that the change made. A deletion counts as one too.
        at: When, in UTC.
        by: Who made it, if that was told.
        action: "save" (also by `update`), "delete", "restore" or "import". The profiles of a
            database from before there was a history begin with "import".
        profile: The profile as it was then; None after a deletion.
        problem: What is wrong with this entry; None for a sound one.

    Raises:
        InvalidProfileError: A value is out of its range.
    """

    model_config = ConfigDict(hide_input_in_errors=True)
    error_type: ClassVar[type[AmuletError]] = InvalidProfileError

    user_id: str
    version: int = Field(ge=0)
    at: Instant | None
    by: str | None = None
    action: Action | None
    profile: PreferenceProfile | None = None
    problem: str | None = None

    @field_validator("user_id", "by", mode="before")
    @classmethod
    def _check_labels(cls, label: Any, info: Any) -> str | None:
        return (
            None
            if label is None and info.field_name == "by"
            else checked_label(str(info.field_name), label)
        )
