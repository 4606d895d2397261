"""What can be counted in an answer without any model: length, variety, repetition."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from amulet_integrations.evaluation.runs.records import Answer, Preference

WORDS = "words"
DISTINCT_1 = "distinct_1"
DISTINCT_2 = "distinct_2"
REPETITION = "repetition"
LEXICAL_VARIETY = "lexical_variety"

REPEATED_WORDS = 4
"""How many words in a row are looked for again by `repetition`."""

WINDOW = 25
"""How many words in a row `lexical_variety` looks at. Shorter answers have none."""

# A word has letters or digits, and may hold apostrophes and hyphens.
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


class TextScorer:
    """Scores that count words.

    `words` is how many there are. `distinct_1` and `distinct_2` are the share of different words
    and pairs of words among all (Li et al. 2016, arXiv 1510.03055), and fall as answers grow.
    `repetition` is the share of runs of four words that the answer holds already (seq-rep-4 of
    Welleck et al. 2020, arXiv 1908.04319). `lexical_variety` is the moving-average type-token
    ratio (MATTR; Covington and McFall 2010, doi 10.1080/09296171003643098) over 25 words, which
    does not depend on the length. A score is left out where an answer is too short for it.

    A word is a run of letters and digits, so what is written without spaces counts as one.
    """

    name = "text"
    score_names = (WORDS, DISTINCT_1, DISTINCT_2, REPETITION, LEXICAL_VARIETY)

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - words are counted for all alike
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`."""
        return [text_scores(answer.text) for answer in answers]


def text_scores(text: str) -> dict[str, float]:
    """Every score of `TextScorer` that applies to a text."""
    words = _WORD.findall(text.casefold())
    scores = {
        WORDS: float(len(words)),
        DISTINCT_1: distinct(words, 1),
        DISTINCT_2: distinct(words, 2),
        REPETITION: repetition(words),
        LEXICAL_VARIETY: lexical_variety(words),
    }
    return {name: score for name, score in scores.items() if score is not None}


def distinct(words: Sequence[str], n: int) -> float | None:
    """The share of different runs of n words among all; None where there is no such run."""
    runs = _runs(words, n)
    return len(set(runs)) / len(runs) if runs else None


def repetition(words: Sequence[str], n: int = REPEATED_WORDS) -> float | None:
    """The share of runs of n words that stood before; None where there is no such run."""
    share = distinct(words, n)
    return None if share is None else 1.0 - share


def lexical_variety(words: Sequence[str], window: int = WINDOW) -> float | None:
    """The share of different words in a window, on average over all places of the window.

    Returns:
        Above 0, at most 1; None where there are fewer words than the window holds.
    """
    runs = _runs(words, window)
    if not runs:
        return None
    return sum(len(set(run)) for run in runs) / (len(runs) * window)


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
