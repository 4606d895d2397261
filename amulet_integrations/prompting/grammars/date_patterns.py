"""Patterns of dates and times that exist; llguidance's own know no leap years."""

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

DATE_PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
}
"""For some of the formats of JSON Schema, a pattern of their values from the year 100 on."""
