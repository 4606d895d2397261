"""Points in time: always with a time zone, always kept in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from amulet_integrations.errors import InvalidProfileError


def as_utc(what: str, instant: datetime) -> datetime:
    """Converts a point in time to UTC.

    Args:
        what: What happens then (for the message).
        instant: A datetime with a time zone.

    Returns:
        The same point in time, in UTC.

    Raises:
        InvalidProfileError: `instant` has no time zone, or no UTC equivalent in the years 1 to
            9999.
    """
    if instant.utcoffset() is None:
        raise InvalidProfileError(
            f"{what}={instant.isoformat()} has no time zone. Give one, such as "
            f"{what}={instant.isoformat()}+00:00 or datetime.now(timezone.utc)."
        )
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise InvalidProfileError(
            f"{what}={instant.isoformat()} is outside the years 1 to 9999 in UTC. "
            "Leave it out where there is no limit."
        ) from None


def _no_number(given: Any, info: ValidationInfo) -> Any:
    """Refuses what pydantic would take for seconds since 1970, such as the year 2030."""
    text = given.decode(errors="replace") if isinstance(given, bytes) else given
    try:
        float(text)
    except (TypeError, ValueError):
        return given
    raise InvalidProfileError(
        f"{info.field_name or 'the time'}={text!r:.80} is a number; give a moment with a time "
        "zone, such as 2027-01-01T00:00+01:00."
    )


def _field_as_utc(instant: datetime, info: ValidationInfo) -> datetime:
    return as_utc(str(info.field_name), instant)


# Kept in UTC, so that equality, hashes and the JSON round trip depend on the instant alone.
Instant = Annotated[datetime, BeforeValidator(_no_number), AfterValidator(_field_as_utc)]
