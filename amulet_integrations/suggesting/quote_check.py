"""Whether a suggestion of the model is one that the user can be asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference
from amulet_integrations.terminal_text import safe

from .conversation_turns import UserTurn
from .suggested_preference import KINDS, Kind, SuggestedPreference
from .suggestion_prompt import LONGEST_QUOTE, LONGEST_TEXT

_FEWEST_CHARACTERS = 8
_FEWEST_WORDS = 2
_ENDS = " \t\n\"'.,;:!?()[]\u2026\u201c\u201d\u2018\u2019\u00ab\u00bb"


def checked_suggestion(
    user_id: str, item: object, turns: Sequence[UserTurn]
) -> SuggestedPreference | str:
    """Checks one suggestion: its form, its text, and that the user wrote its quote.

    Args:
        user_id: The user, whatever the suggestion says.
        item: What the model wrote.
        turns: The user's messages.

    Returns:
        The candidate; or why it is none, in words that quote nobody.
    """
    fields = item if isinstance(item, Mapping) else {}
    text, quote, kind = (fields.get(name) for name in ("preference", "quote", "kind"))
    if not (isinstance(text, str) and isinstance(quote, str) and kind in KINDS):
        return "it has not the form that was asked for"
    if problem := _text_problem(text := " ".join(text.split())):
        return problem
    found = find_quote(quote, turns)
    if found is None:
        return "its quote is nothing that the user wrote"
    number, words = found
    return SuggestedPreference(user_id, text, words, cast("Kind", kind), number)


def find_quote(quote: str, turns: Sequence[UserTurn]) -> tuple[int, str] | None:
    """Finds a quote in the user's messages; white space, case and marks at its ends may differ.

    Returns:
        The number of the message and the words as the user wrote them, with single spaces; None if
        no message has them, or if they are so short that they could stand anywhere.
    """
    wanted = " ".join(quote.split()).strip(_ENDS)
    for turn in turns:
        said = " ".join(turn.text.split())
        # Lower-casing some letters changes the length; then the case has to be the same.
        any_case = all(len(it) == len(it.casefold()) for it in (said, wanted))
        start = said.casefold().find(wanted.casefold()) if any_case else said.find(wanted)
        if start < 0 or not wanted or not _says_something(wanted, said):
            continue
        if _is_whole(said, start, len(wanted)):
            return turn.number, said[start : start + len(wanted)]
    return None


def _says_something(quote: str, said: str) -> bool:
    """Whether a quote is long enough to be evidence, or the whole message."""
    if len(quote) > LONGEST_QUOTE:
        return False
    is_long = len(quote) >= _FEWEST_CHARACTERS and len(quote.split()) >= _FEWEST_WORDS
    return is_long or quote.casefold() == said.strip(_ENDS).casefold()


def _is_whole(said: str, start: int, length: int) -> bool:
    """Whether it begins and ends at the ends of words."""
    before, after = said[start - 1 : start], said[start + length : start + length + 1]
    return not (before.isalnum() and said[start].isalnum()) and not (
        after.isalnum() and said[start + length - 1].isalnum()
    )


def _text_problem(text: str) -> str | None:
    if len(text) > LONGEST_TEXT:
        return f"it has {len(text):,} characters; at most {LONGEST_TEXT} are suggested"
    if safe(text) != text:
        return "it holds control characters"
    try:
        Preference(text=text)
    except InvalidProfileError as error:
        return str(error)
    return None
