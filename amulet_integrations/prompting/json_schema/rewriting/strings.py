"""The patterns and formats of strings, as far as llguidance enforces them."""

from __future__ import annotations

from typing import Any

from amulet_integrations.prompting.json_schema.patterns import (
    check_pattern,
    enforced_pattern,
    without_lookaround,
)

from .format_patterns import FORMAT_PATTERNS

_ENFORCED_FORMATS = frozenset(
    {"email", "hostname", "ipv4", "ipv6", "uuid", "uri", *FORMAT_PATTERNS}
)

# Pydantic's way to require a digit in a Decimal; llguidance does not support lookahead.
_DIGIT_LOOKAHEAD = "^(?!^[-+.]*$)"
_LONGEST_DECIMAL = 31


def narrow_string(schema: dict[str, Any], pointer: str, *, drops_patterns: bool) -> bool:
    """Rewrites the pattern and the format of a string; a format that is not known is an annotation.

    Args:
        schema: The schema, which is changed.
        pointer: The JSON pointer to it.
        drops_patterns: Whether patterns are left out, and formats.

    Returns:
        Whether all of the pattern is enforced.

    Raises:
        UnsupportedGrammarError: The pattern is no regular expression.
    """
    if drops_patterns:
        schema.pop("format", None)
        if (pattern := schema.pop("pattern", None)) is None:
            return True
        check_pattern(pattern, pointer)
        return False
    given = schema.get("format")
    if given is not None and given not in _ENFORCED_FORMATS:
        del schema["format"]  # an annotation
    elif given in FORMAT_PATTERNS and "pattern" not in schema:
        del schema["format"]
        schema["pattern"] = FORMAT_PATTERNS[given]
    elif schema.get("pattern", "").startswith(_DIGIT_LOOKAHEAD):
        schema["pattern"] = "^" + schema["pattern"].removeprefix(_DIGIT_LOOKAHEAD)
        schema["allOf"] = [*schema.get("allOf", ()), {"pattern": "[0-9]"}]
        schema.setdefault("maxLength", _LONGEST_DECIMAL)
    if (pattern := schema.pop("pattern", None)) is None:
        return True
    written = whole = enforced_pattern(pattern, pointer)
    if whole is None:
        written = enforced_pattern(without_lookaround(pattern), pointer)
    if written is not None:
        schema["pattern"] = written
    return whole is not None
