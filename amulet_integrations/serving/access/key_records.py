"""What the file of keys contains: for each key its id, its hash, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from amulet_integrations.errors import KeyFileError
from amulet_integrations.profiles.field_types import Label, Moment

from .secret_keys import HASH_PATTERN, ID_PATTERN

_OURS = "key_records"


class KeyRecord(BaseModel):
    """One key. It is of a user or of an application.

    Attributes:
        id: The key's id.
        user_id: The user whose key it is, or None.
        application: The application whose key it is, or None. It may name any user.
        created_at: When the key was made.
        sha256: The key's hash.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=f"^{ID_PATTERN}$")
    user_id: Label | None = None
    application: Label | None = None
    created_at: Moment
    sha256: str = Field(pattern=f"^{HASH_PATTERN}$", repr=False)

    @model_validator(mode="after")
    def _check_owner(self) -> Self:
        if (self.user_id is None) == (self.application is None):
            raise PydanticCustomError(_OURS, "has to have one of user_id and application")
        return self


class KeyRecords(BaseModel):
    """The content of a file of keys.

    Attributes:
        version: The version of the format.
        keys: The keys, the oldest first.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        if len({record.id for record in self.keys}) < len(self.keys):
            raise PydanticCustomError(_OURS, "has two keys of one id")
        return self

    def __repr__(self) -> str:
        return f"<{len(self.keys)} keys>"


def parse_records(content: bytes, path: Path) -> KeyRecords:
    """Reads the content of a file of keys; a blank file contains none.

    Args:
        content: The content.
        path: The file, for the message.

    Raises:
        KeyFileError: It is damaged. The message names the place and quotes nothing.
    """
    if not content.strip():
        return KeyRecords()
    try:
        return KeyRecords.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        # Not `from error`: it quotes the file.
        raise KeyFileError(
            f"The file of keys {path} is damaged: {_describe(fault)}. Mend it, or put a backup in "
            "its place. No key of it is valid meanwhile."
        ) from None


def write_records(records: KeyRecords) -> bytes:
    """The content of a file of keys."""
    return records.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"


def now() -> datetime:
    """This moment, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _describe(fault: ErrorDetails) -> str:
    """What is wrong and where, without a word of the file."""
    if fault["type"] == "json_invalid":  # its message names line and column
        return fault["msg"].removeprefix("Invalid JSON: ")
    what = fault["msg"] if fault["type"] == _OURS else "is missing or not valid"
    path = list(fault["loc"])
    if fault["type"] == "extra_forbidden":
        path, what = path[:-1], "holds what is not known"
    match path:
        case [str(), int(number), *fields]:
            place = " ".join([f"key {number + 1}", *(f"({field})" for field in fields)])
        case _:
            place = " ".join(map(str, path)) or "the whole"
    return f"{place} {what}"
