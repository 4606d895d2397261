"""Words that say how answers should be, by the dimensions in which two of them can be opposites.

In a dimension, a preference wants one value or does not want it. Two preferences contradict each
other where they want different values, or where one wants what the other does not. Patterns are
matched against lower-case words with single spaces between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ANSWERS = "(?:answer|repl|respons|explanation|message|text|output)[a-z]*"
_TO_BE = "(?:be|stay|remain|keep it|make it|keep them|make them|sound)"

_LANGUAGES = (
    "arabic chinese czech danish dutch english finnish french german greek hebrew hindi hungarian "
    "italian japanese korean norwegian polish portuguese romanian russian spanish swedish turkish "
    "ukrainian vietnamese"
)
_CODE_LANGUAGES = (
    "bash c go java javascript kotlin perl php python ruby rust scala sql swift typescript"
)


@dataclass(frozen=True)
class Dimension:
    """One way in which answers differ.

    Attributes:
        name: What it is called in messages.
        values: The values and what says them, as regular expressions.
        is_pair: Whether there are two values, and not wanting one is wanting the other.
    """

    name: str
    values: dict[str, re.Pattern[str]]
    is_pair: bool = False

    def opposite(self, value: str) -> str:
        """The other one of two values."""
        return next(it for it in self.values if it != value)


def _dimension(name: str, values: Mapping[str, str], *, is_pair: bool = False) -> Dimension:
    compiled = {value: re.compile(rf"\b(?:{it})\b") for value, it in values.items()}
    return Dimension(name, compiled, is_pair)


def _opposites(name: str, **values: str) -> Dimension:
    """A dimension of two values."""
    return _dimension(name, values, is_pair=True)


def _feature(name: str, pattern: str, absent: str | None = None) -> Dimension:
    """A thing that answers have or lack; `absent` says in other words that they lack it."""
    if absent is None:
        return _dimension(name, {"present": pattern})
    return _opposites(name, present=pattern, absent=absent)


def _languages(names: str, pattern: str) -> dict[str, str]:
    return {name: pattern.replace("LANGUAGE", name) for name in names.split()}


def _lengths(words: str, more: str) -> str:
    of_answers = f"(?:{words})(?: (?!or )[a-z]+)? {_ANSWERS}|{_ANSWERS}(?: [a-z]+)? (?:{words})"
    to_be = f"{_TO_BE}(?: (?:very|really|more|as|too))?(?: (?:{words}))"
    return f"{of_answers}|{to_be}|{more}"


DIMENSIONS: tuple[Dimension, ...] = (
    _opposites(
        "length",
        short=_lengths(
            "short|shorter|brief|concise|terse|succinct|compact",
            "briefly|concisely|succinctly|tersely|to the point|short and sweet|tl;?dr(?: style)"
            "|in (?:one|a|two)(?: (?:short|single))? (?:sentence|line)s?"
            "|(?:in|few) (?:a )?(?:few|as few) (?:words|sentences)"
            f"|(?:at most|max|maximum|up to|limit(?:ed)?(?: {_ANSWERS})? to) "
            "(?:one|two|three|[0-9]+) (?:words|sentences?|lines?)",
        ),
        long=_lengths(
            "long|longer|lengthy|detailed|thorough|comprehensive|elaborate|verbose|in-depth"
            "|exhaustive|extensive",
            "at length|in (?:[a-z]+ )?detail|thoroughly|too long|(?:several|many) paragraphs"
            "|as thorough(?:ly)? as|full story|essays|long-form",
        ),
    ),
    _dimension(
        "language",
        _languages(
            _LANGUAGES,
            "(?:(?:answer|reply|respond|speak|talk|explain|converse|chat)(?: [a-z]+){0,3}?"
            "|write(?: (?:always|answers|everything|only|to me))*) in "
            "(?:simple |plain |only )?LANGUAGE|speak LANGUAGE|LANGUAGE only|in LANGUAGE only"
            "|everything in LANGUAGE|^(?:please )?(?:use )?LANGUAGE(?: please)?$",
        ),
    ),
    _dimension(
        "language of code",
        _languages(
            _CODE_LANGUAGES,
            "(?:code|snippet|program|script|example)s?(?: (?!in )[a-z]+){0,2} in LANGUAGE"
            "|(?:show|write|give|use)(?: [a-z]+){0,2}? LANGUAGE (?:code|snippets)"
            "|LANGUAGE for (?:all )?code",
        ),
    ),
    _feature("lists", "bullet points?|bullets|bulleted lists?|lists", "prose"),
    _feature("tables", "tables"),
    _feature("Markdown", "markdown", "plain text"),
    _feature("emojis", "emojis?"),
    _feature("examples", "examples?"),
    _feature("sources", "sources|citations|references|footnotes"),
    _feature("summaries", "summary|summaries|tl;?dr"),
    _feature("comments in code", "comments"),
    _feature("the basics", "(?:the )?basics"),
    _feature("questions", "(?:ask )(?:[a-z]+ ){0,2}?questions"),
    _feature("the first name", "by (?:my|their|her|his) first name"),
    _opposites(
        "humour",
        humorous="jokes?|humou?r|humorous(?:ly)?|funny|witty|puns?",
        serious=f"{_TO_BE} (?:[a-z]+ )?serious|serious tone",
    ),
    _opposites(
        "tone",
        formal=f"formal(?:ly)?|{_TO_BE} (?:[a-z]+ )?professional|professional tone",
        casual="casual(?:ly)?|informal(?:ly)?|colloquial(?:ly)?|like a (?:friend|buddy|pal|mate)",
    ),
    _opposites(
        "manners",
        gentle=f"polite(?:ly)?|gentle|gently|friendly|{_TO_BE} (?:[a-z]+ )?(?:kind|warm)",
        blunt="blunt(?:ly)?|harsh(?:ly)?|rude(?:ly)?|brutal(?:ly)?",
    ),
    _opposites(
        "words",
        simple="simple (?:words|language|terms)|plain (?:words|language|english)|layman.?s terms"
        "|like i.?(?:a?m) five|eli5",
        technical="(?<!explain )jargon|technical (?:terms?|language|vocabulary|words)|ph.?d|"
        "(?:i am|i'm|assume that i am) an expert",
    ),
    _opposites(
        "units",
        metric="metric|(?:use|in) (?:kilomet(?:er|re)s|kilograms)",
        imperial="imperial|(?:use|in) (?:miles|pounds)",
    ),
    _opposites("degrees", celsius="celsius", fahrenheit="fahrenheit"),
)
"""The dimensions. What a preference wants in others is not known here, and so never told."""

PERSONA = "persona"
"""A further dimension, whose values are whatever stands after "like a"."""

_PERSONA = re.compile(
    r"\b(?:answer|reply|respond|write|speak|talk|sound|act)[a-z]*(?: [a-z]+){0,3}? "
    r"(?:(?:like|as) an? (?:[a-z]+ ){0,2}?|like )"
    r"(?!(?:i|you|we|this|that|me|it)\b)([a-z]+)(?=$| (?:would|does|when|in|with|to|from|at|on)\b)"
)
_NO_PERSONA = {
    "friend",
    "buddy",
    "pal",
    "mate",
    "list",
    "result",
    "rule",
    "table",
    "summary",
    "whole",
    "bonus",
    "text",
}


def personas(clause: str) -> Iterator[tuple[str, int]]:
    """Whom a clause wants imitated, and where it says so."""
    for match in _PERSONA.finditer(clause):
        if match[1] not in _NO_PERSONA:
            yield match[1], match.start()
