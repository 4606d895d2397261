"""What a preference wants of answers, and what it does not want, as far as its words say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .opposites import DIMENSIONS, PERSONA, personas

LONGEST = 400
"""Most characters of a preference that is looked at: who writes more, writes the exceptions too."""


class Stance(NamedTuple):
    """What a preference says in one dimension.

    Attributes:
        dimension: Such as "length".
        value: Such as "short".
        wanted: Whether it is wanted, or not.
    """

    dimension: str
    value: str
    wanted: bool


_CLAUSES = re.compile(
    r"[.;:!?\n]+|,\s*(?!\w+(?:,| and | or )?\s*\w+\s*(?:answers?|repl|respon|words|tone))"
    r"|\s(?:but|and then|while)\s"
)
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|don't|dont|doesn't|without|avoid|avoids|omit|skip|leave out|stop|less"
    r"|fewer|dislikes?|hates?|cannot stand|can't stand|rather than|instead of|refrain|free of"
    r"|nothing)\b"
)

# A clause with one of these holds at times only, or gives a choice; it is not judged.
_CONDITION = re.compile(
    r"\b(?:if|when|whenever|unless|except|only for|sometimes|or|either|usually|where|until|rarely"
    r"|other than|besides|occasionally|ask (?:me )?for)\b"
)

# "No sources older than 2020" leaves room for sources.
_RESTRICTION = re.compile(
    r" (?:about|from|in|like|longer|more|newer|of|older|on|that|to|which|who|with|without)\b"
)

# "Be formal in emails" says nothing of other answers.
_SCOPE = re.compile(
    r" (?:(?:about|at|during|for|of|on|within) "
    r"(?!(?:me|us|all|any|each|every|everything|course|detail|please)\b)[\w-]+"
    r"|in (?:[\w-]+ )?(?:chats?|documents|emails?|essays|letters|mails|posts|recipes|reports"
    r"|reviews|slack))\b"
)

# "Not too short" does not want it long.
_TOO = re.compile(r"\btoo\b")

# What somebody is or has says nothing of answers, whatever words it has.
_OF_SOMEBODY = re.compile(
    r"^(?:i|i'm|my|his|her|their|our|the|a|an|he|she|we|they|it|there|this|that)\b"
)
_WANTS = re.compile(
    r"\b(?:asked|asks?|can't stand|cannot stand|dislikes?|enjoys?|hates?|i am an expert"
    r"|i'm an expert|likes?|loves?|needs?|prefers?|should|wants?|would like)\b"
)


def stances_of(text: str) -> frozenset[Stance]:
    """What a preference wants and does not want.

    A dimension in which it says two things is left out: it has its reasons.
    """
    if len(text) > LONGEST:
        return frozenset()
    found = {stance for clause in _clauses(text) for stance in _of_clause(clause)}
    return frozenset(it for it in found if not any(contradict(it, other) for other in found))


def contradict(one: Stance, other: Stance) -> bool:
    """Whether nobody can follow both."""
    if one.dimension != other.dimension:
        return False
    if one.wanted and other.wanted:
        return one.value != other.value
    return one.wanted != other.wanted and one.value == other.value


def _clauses(text: str) -> Iterator[str]:
    plain = text.casefold().replace("\u2019", "'")
    for clause in _CLAUSES.split(plain):
        words = " ".join(re.findall(r"[\w'-]+", clause or ""))
        if words and not _CONDITION.search(words):
            yield words


def _of_clause(clause: str) -> Iterator[Stance]:
    if _OF_SOMEBODY.match(clause) and not _WANTS.search(clause):
        return
    for dimension in DIMENSIONS:
        for value, pattern in dimension.values.items():
            for match in pattern.finditer(clause):
                wanted = not _is_negated(clause, match.start())
                if _is_partial(clause, match, wanted=wanted):
                    continue
                if not wanted and dimension.is_pair:
                    yield Stance(dimension.name, dimension.opposite(value), wanted=True)
                else:
                    yield Stance(dimension.name, value, wanted)
    for value, start in personas(clause):
        yield Stance(PERSONA, value, not _is_negated(clause, start))


def _is_partial(clause: str, match: re.Match[str], *, wanted: bool) -> bool:
    """Whether a clause leaves room for the opposite of what it says."""
    if wanted:
        return _SCOPE.search(clause, match.end()) is not None
    is_restricted = _RESTRICTION.match(clause, match.end()) is not None
    return is_restricted or _TOO.search(clause, 0, match.end()) is not None


def _is_negated(clause: str, place: int) -> bool:
    """Whether what stands at a place is denied by the words before; two denials are none."""
    return len(_NEGATION.findall(clause[:place])) % 2 == 1
