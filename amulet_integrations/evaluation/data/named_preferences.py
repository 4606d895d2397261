"""The preferences of an evaluation: the published ones by name, or any text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from amulet_integrations.errors import EvaluationError, PromptError
from amulet_integrations.prompting.messages import check_preference

from .record_types import Preference, find_duplicate, shorten

PAPER_PREFERENCES = ("creative", "verbose", "concise", "uplifting")
"""The preferences of the paper's tables."""

OTHER_PREFERENCES = ("sycophantic", "complex", "formal", "pleasant")
"""The preferences that only the published code has."""

KNOWN_PREFERENCES = {
    name: f"Your answer should be {name} as much as possible."
    for name in (*PAPER_PREFERENCES, *OTHER_PREFERENCES)
}
"""The published text of each preference."""

_LONGEST_NAME = 40
_NAMED = re.compile(r"([\w-]{1,40})=(.*)", re.DOTALL)


def read_preferences(
    preferences: str | Preference | Iterable[str | Preference],
) -> tuple[Preference, ...]:
    """Reads preferences from names and texts.

    Args:
        preferences: The name of a published preference ("creative"), a text ("Answer as a
            poet."), or a name of your own with a text ("poet=Answer as a poet."). A single
            preference need not be in a list.

    Returns:
        The preferences. The name of a preference that you gave as a text is that text, shortened.

    Raises:
        EvaluationError: There is no preference, one is blank, two have the same name, or one is a
            single word that is nearly the name of a published one.
    """
    if isinstance(preferences, str | Preference):
        preferences = [preferences]
    read = tuple(it if isinstance(it, Preference) else _read_preference(it) for it in preferences)
    if not read:
        raise EvaluationError(
            f"There is no preference. Give some of {', '.join(KNOWN_PREFERENCES)}, or any text."
        )
    duplicate = find_duplicate(preference.name for preference in read)
    if duplicate is not None:
        raise EvaluationError(
            f"Two preferences are called {duplicate!r}. Give one of them a name of its own, as in "
            "name=text."
        )
    return read


def _read_preference(given: str) -> Preference:
    text = given.strip()
    if text in KNOWN_PREFERENCES:
        return Preference(name=text, text=KNOWN_PREFERENCES[text])
    if named := _NAMED.fullmatch(text):
        name, text = named[1], named[2].strip()
    else:
        _check_spelling(text)
        name = shorten(text, _LONGEST_NAME)
    try:
        check_preference(text)
    except PromptError as error:
        raise EvaluationError(f"The preference {given!r} cannot be used. {error}") from error
    return Preference(name=name, text=text)


def _check_spelling(text: str) -> None:
    """Refuses a single word that is probably a misspelt name."""
    near = get_close_matches(text.lower(), KNOWN_PREFERENCES, n=1)
    if near and not re.search(r"\s", text):
        raise EvaluationError(
            f"The preference {text!r} is not known. Did you mean {near[0]!r}? To have it as a "
            f"text, write name=text, as in {text}={text}."
        )
