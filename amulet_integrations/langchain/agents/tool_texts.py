"""What the model reads about the two tools, and whether it gives that back as a preference.

Small models do: asked for a preference, they copy what the prompt says about the argument.
"""

from __future__ import annotations

import re

REMEMBER = (
    "Remember how the user wants to be answered, from now on. Call it when the user says what "
    "they prefer, such as shorter answers, another tone or a form of address."
)
FORGET = "Forget a preference that the user no longer wants to be followed."

PREFERENCE = "The preference in one plain sentence, as an instruction: 'Answer briefly.'"
NAME = (
    "One or two words that say what it is about, such as 'length'. A preference "
    "of the same name is replaced."
)
FORGOTTEN_PREFERENCE = "The name of the preference, or words of its text."
FORGOTTEN_NAME = "The name of the preference, if known."

_FEWEST_WORDS = 5
"""Fewer words of a description may be a wish: "Answer briefly", "shorter answers"."""

_FIRST_WORDS = 6
"""So many words of a description's beginning are no beginning of a wish."""

# How models and prompts write calls, in the styles of `prompting/tools`.
_CALL_MARKERS = re.compile(
    r"</?tools?(?:_call|_response)?\b|\[TOOL_CALLS\]|<\|python_tag\|>|\bto call a tool, write\b",
    re.IGNORECASE,
)


def repeats_a_description(text: str) -> bool:
    """Whether a text is a part of what the model reads about the tools, or begins as it does."""
    words = _words(text)
    return any(
        (len(words) >= _FEWEST_WORDS and _contains(described, words))
        or words[:_FIRST_WORDS] == described[:_FIRST_WORDS]
        for described in _DESCRIPTIONS
    )


def has_call_markers(text: str) -> bool:
    """Whether a text holds what only tool calls, their results or instructions for them hold."""
    return _CALL_MARKERS.search(text) is not None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _contains(words: list[str], part: list[str]) -> bool:
    starts = range(len(words) - len(part) + 1)
    return any(words[start : start + len(part)] == part for start in starts)


_DESCRIPTIONS = [
    _words(text)
    for text in (REMEMBER, FORGET, PREFERENCE, NAME, FORGOTTEN_PREFERENCE, FORGOTTEN_NAME)
]
