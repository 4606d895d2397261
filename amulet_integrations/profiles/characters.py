"""Which characters a profile may hold."""

from __future__ import annotations

import unicodedata

from amulet_integrations.errors import InvalidProfileError

LONGEST_LABEL = 256
"""Most characters of a user id or of a preference's name."""

_REFUSED = {"Cc": "control character", "Cs": "lone surrogate"}


def check_characters(what: str, text: str, allowed: str = "") -> str:
    """Refuses control characters and lone surrogates, without quoting the text around them.

    Args:
        what: What the text is (for the message).
        text: The text to check.
        allowed: Control characters to let through.

    Returns:
        `text`, unchanged.

    Raises:
        InvalidProfileError: `text` holds such a character.
    """
    for place, character in enumerate(text):
        kind = _REFUSED.get(unicodedata.category(character))
        if kind and character not in allowed:
            raise InvalidProfileError(
                f"{what} holds the {kind} {character!r} at position {place}. Remove it."
            )
    return text


def checked_label(what: str, value: object) -> str:
    """Checks a user id or a preference's name.

    Args:
        what: What the label is (for the message).
        value: The label: a string of 1 to 256 characters, not all of them white space.

    Returns:
        `value`, unchanged.

    Raises:
        InvalidProfileError: `value` is no such string, or holds control characters.
    """
    if not isinstance(value, str):
        raise InvalidProfileError(f"{what} is a {type(value).__name__}; give a string.")
    if not value.strip():
        raise InvalidProfileError(f"{what}={value[:80]!r} is empty; give at least one character.")
    if len(value) > LONGEST_LABEL:
        raise InvalidProfileError(
            f"{what} has {len(value):,} characters; at most {LONGEST_LABEL} are allowed."
        )
    return check_characters(f"{what}={value[:80]!r}", value)
