"""Regular expressions of formats, stricter than llguidance's own.

llguidance's own patterns do not know leap years, and set no bounds.
"""

from __future__ import annotations

_LEAP = (
    "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])"
    "|0[1-9](?:0[48]|[2468][048]|[13579][26])"
    "|(?:[2468][048]|[13579][26]|0[48])00)"
)
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2})"
_MONTH_AND_DAY = (
    "(?:02-(?:0[1-9]|1[0-9]|2[0-8])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01]))"
)
_DATE = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP}-02-29)"
_HOUR_AND_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_HOUR_AND_MINUTE}:[0-5][0-9](?:\\.[0-9]{{1,6}})?(?:Z|[+-]{_HOUR_AND_MINUTE})"

# Few enough digits that calendars can represent every duration.
_COUNT = "[0-9]{1,6}"
_DAYS = f"{_COUNT}D"
_MONTHS = f"{_COUNT}M(?:{_DAYS})?"
_SECONDS = f"{_COUNT}S"
_MINUTES = f"{_COUNT}M(?:{_SECONDS})?"
_PERIOD = f"(?:{_DAYS}|{_MONTHS}|{_COUNT}Y(?:{_MONTHS})?)"
_SPAN = f"T(?:{_SECONDS}|{_MINUTES}|{_COUNT}H(?:{_MINUTES})?)"

FORMAT_PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": f"^P(?:{_PERIOD}(?:{_SPAN})?|{_SPAN}|{_COUNT}W)$",
    **{
        f"uuid{version}": (
            f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-"
            "[0-9a-f]{12}$"
        )
        for version in (1, 3, 4, 5, 6, 7, 8)
    },
}
"""Patterns for some formats of JSON Schema and Pydantic. Dates begin with the year 100."""
