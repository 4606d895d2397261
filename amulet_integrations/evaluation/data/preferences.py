"""The preferences that answers are asked for: the published ones by name, or any text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from amulet_integrations.errors import EvaluationError, PromptError
from amulet_integrations.evaluation.runs.names import repeated, shortened
from amulet_integrations.evaluation.runs.records import Preference
from amulet_integrations.prompting.messages import check_preference

PAPER_PREFERENCES = ("creative", "verbose", "concise", "uplifting")
"""Those of the paper's tables."""

OTHER_PREFERENCES = ("sycophantic", "complex", "formal", "pleasant")
"""Those that only the published code has."""

KNOWN_PREFERENCES = {
    name: f"Your answer should be {name} as much as possible."
    for name in (*PAPER_PREFERENCES, *OTHER_PREFERENCES)
}
"""The text of each, as published."""

_LONGEST_NAME = 40
_NAMED = re.compile(r"([\w-]{1,40})=(.*)", re.DOTALL)


def read_preferences(
    preferences: str | Preference | Iterable[str | Preference],
) -> tuple[Preference, ...]:
    """Makes preferences of names and texts.

    Args:
        preferences: Each the name of a published one ("creative"), a text ("Answer as a poet."),
            or a name of your own with a text ("poet=Answer as a poet."). One may come alone.

    Returns:
        The preferences. One without a name is called by its text, shortened.

    Raises:
        EvaluationError: No preference, a blank one, two of one name, or a single word that is
            nearly the name of a published one.
    """
    if isinstance(preferences, str | Preference):
        preferences = [preferences]
    read = tuple(
        preference if isinstance(preference, Preference) else _read_preference(preference)
        for preference in preferences
    )
    if not read:
        raise EvaluationError(
            f"There is no preference. Give some of {', '.join(KNOWN_PREFERENCES)}, or any text."
        )
    twice = repeated(preference.name for preference in read)
    if twice is not None:
        raise EvaluationError(
            f"Two preferences are called {twice!r}. Give one of them a name of its own, as in "
            "name=text."
        )
    return read


def _read_preference(given: str) -> Preference:
    text = given.strip()
    if text in KNOWN_PREFERENCES:
        return Preference(name=text, text=KNOWN_PREFERENCES[text])
    named = _NAMED.fullmatch(text)
    if named:
        name, text = named[1], named[2].strip()
    else:
        _check_spelling(text)
        name = shortened(text, _LONGEST_NAME)
    try:
        check_preference(text)
    except PromptError as error:
        raise EvaluationError(f"The preference {given!r} cannot be used. {error}") from error
    return Preference(name=name, text=text)


def _check_spelling(text: str) -> None:
    """A single word is more likely a slip than a text."""
    near = get_close_matches(text.lower(), KNOWN_PREFERENCES, n=1)
    if near and not re.search(r"\s", text):
        raise EvaluationError(
            f"The preference {text!r} is not known. Did you mean {near[0]!r}? To have it as a "
            f"text, write name=text, as in {text}={text}."
        )
