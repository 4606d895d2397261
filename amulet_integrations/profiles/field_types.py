"""The types of a profile's fields: labels, texts of preferences, and moments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from amulet_integrations.errors import InvalidParamsError, InvalidProfileError

LONGEST_LABEL = 256
"""Most characters of a user id or of a preference's name."""

LONGEST_TEXT = 2_000
"""Most characters of a preference's text, unless `TEXT_LIMIT_VARIABLE` is set."""

TEXT_LIMIT_VARIABLE = "AMULET_MAX_PREFERENCE_CHARS"
"""The environment variable that sets another limit for the texts, for the whole process."""

_CONTROL_CHARACTERS = "\\x00-\\x1f\\x7f-\\x9f"
_SURROGATES = "\\ud800-\\udfff"
_REFUSED = re.compile(f"[{_CONTROL_CHARACTERS}{_SURROGATES}]")

LABEL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_LABEL,
    "pattern": rf"^[^{_CONTROL_CHARACTERS}]*[^{_CONTROL_CHARACTERS}\s][^{_CONTROL_CHARACTERS}]*$",
}
"""What `checked_label` accepts, as JSON schema."""

_TEXT_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "pattern": r"\S"}

# Pydantic passes no validation context on to models that have an `__init__`.
_reads_stored_text: ContextVar[bool] = ContextVar("amulet_reads_stored_text", default=False)


def check_string(what: str, value: object) -> str:
    """Refuses everything but strings of at most `LONGEST_LABEL` characters.

    Args:
        what: What the value is (for the message).
        value: The value to check.

    Returns:
        `value`, unchanged.

    Raises:
        InvalidProfileError: `value` is no string, or too long.
    """
    if not isinstance(value, str):
        raise InvalidProfileError(f"{what} is a {type(value).__name__}; give a string.")
    if len(value) > LONGEST_LABEL:
        raise InvalidProfileError(
            f"{what} has {len(value):,} characters; at most {LONGEST_LABEL} are allowed."
        )
    return value


def check_characters(what: str, text: str, allowed: str = "") -> str:
    """Refuses control characters and lone surrogates. The message does not quote the text.

    Args:
        what: What the text is (for the message).
        text: The text to check.
        allowed: Control characters that the text may contain.

    Returns:
        `text`, unchanged.

    Raises:
        InvalidProfileError: `text` contains such a character.
    """
    for found in _REFUSED.finditer(text):
        if found[0] not in allowed:
            kind = "lone surrogate" if found[0] >= "\ud800" else "control character"
            raise InvalidProfileError(
                f"{what} holds the {kind} {found[0]!r} at position {found.start()}. Remove it."
            )
    return text


def checked_label(what: str, value: object) -> str:
    """Checks a user id or a preference's name.

    Args:
        what: What the label is (for the message).
        value: The label: a string of 1 to 256 characters, not only white space.

    Returns:
        `value`, unchanged.

    Raises:
        InvalidProfileError: `value` is no such string, or contains control characters.
    """
    text = check_string(what, value)
    if not text.strip():
        raise InvalidProfileError(f"{what}={text!r:.80} is empty; give at least one character.")
    return check_characters(f"{what}={text[:80]!r}", text)


def is_label(value: object) -> bool:
    """Whether a value is a valid user id or name; see `checked_label`."""
    try:
        checked_label("label", value)
    except InvalidProfileError:
        return False
    return True


def as_utc(what: str | None, moment: datetime) -> datetime:
    """Converts a moment to UTC.

    Args:
        what: What the moment is (for the message); None if whoever reads it knows.
        moment: A datetime with a time zone.

    Returns:
        The same moment, in UTC.

    Raises:
        InvalidProfileError: `moment` has no time zone, or lies outside the years 1 to 9999 in UTC.
    """
    given = moment.isoformat() if what is None else f"{what}={moment.isoformat()}"
    if moment.utcoffset() is None:
        raise InvalidProfileError(
            f"{given} has no time zone. Give one, such as {given}+00:00 or "
            "datetime.now(timezone.utc)."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidProfileError(
            f"{given} is outside the years 1 to 9999 in UTC. Leave it out where there is no limit."
        ) from None


@contextmanager
def stored_texts_accepted() -> Iterator[None]:
    """Accepts texts of any length in the block: a stored text was within the limit once."""
    before = _reads_stored_text.set(True)
    try:
        yield
    finally:
        _reads_stored_text.reset(before)


def longest_text() -> int:
    """Most characters of a preference's text in this process.

    Raises:
        InvalidParamsError: `TEXT_LIMIT_VARIABLE` is no whole number above 0.
    """
    value = os.environ.get(TEXT_LIMIT_VARIABLE, "").strip()
    if not value:
        return LONGEST_TEXT
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise InvalidParamsError(
        f"The environment variable {TEXT_LIMIT_VARIABLE}={value[:80]!r} is no whole number above "
        f"0. Set it to the most characters that a preference may have, or unset it for "
        f"{LONGEST_TEXT:,}."
    )


def _check_label(value: object, info: ValidationInfo) -> str:
    return checked_label(str(info.field_name), value)


def _check_text(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidProfileError(
            f"the text of a preference is a {type(text).__name__}; give a string."
        )
    stripped = check_characters("the text of a preference", text, allowed="\n\t").strip()
    if not stripped:
        raise InvalidProfileError("the text of a preference is empty; say what the user prefers.")
    if not _reads_stored_text.get() and len(stripped) > (longest := longest_text()):
        raise InvalidProfileError(
            f"the text of a preference has {len(stripped):,} characters; at most "
            f"{longest:,} are allowed. Shorten it, or set {TEXT_LIMIT_VARIABLE}."
        )
    return stripped


def _refuse_number(given: Any, info: ValidationInfo) -> Any:
    """Refuses what pydantic would read as seconds since 1970, such as the year 2030."""
    text = given.decode(errors="replace") if isinstance(given, bytes) else given
    try:
        float(text)
    except (TypeError, ValueError):
        return given
    except OverflowError:  # an integer of hundreds of digits
        pass
    raise InvalidProfileError(
        f"{info.field_name or 'the time'}={text!r:.80} is a number; give a moment with a time "
        "zone, such as 2027-01-01T00:00Z."
    )


def _to_utc(moment: datetime, info: ValidationInfo) -> datetime:
    return as_utc(info.field_name, moment)


# Each is checked before pydantic's own check, because that one quotes the value in its message.
Label = Annotated[str, BeforeValidator(_check_label), WithJsonSchema(LABEL_SCHEMA)]
"""A user id or a name; see `checked_label`."""

PreferenceText = Annotated[str, BeforeValidator(_check_text), WithJsonSchema(_TEXT_SCHEMA)]
"""The text of a preference, without white space at both ends."""

Moment = Annotated[datetime, BeforeValidator(_refuse_number), AfterValidator(_to_utc)]
"""A moment in UTC, so that equality, hashes and JSON depend on the moment alone."""
