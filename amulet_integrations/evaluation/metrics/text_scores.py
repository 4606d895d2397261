"""Scores of the text alone: length, variety, repetition and sentiment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.data.record_types import Answer, Preference

from .builtin_scores import (
    DISTINCT_1,
    DISTINCT_2,
    LEXICAL_VARIETY,
    REPEATED_WORDS,
    REPETITION,
    SENTIMENT,
    WINDOW,
    WORDS,
)

# A word has letters or digits, and may contain apostrophes and hyphens.
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


class TextScorer:
    """Scores that count words.

    `words` is the number of words. `distinct_1` and `distinct_2` are the shares of different words
    and pairs of words (Li et al. 2016, arXiv 1510.03055); both fall as answers grow. `repetition`
    is the share of runs of four words that occurred before in the answer (seq-rep-4 of Welleck et
    al. 2020, arXiv 1908.04319). `lexical_variety` is the moving-average type-token ratio (MATTR;
    Covington and McFall 2010, doi 10.1080/09296171003643098) over 25 words, which does not depend
    on the length. A score is left out if the answer is too short for it.

    A word is a run of letters and digits, so text that is written without spaces is one word.
    """

    name = "text"
    score_names: tuple[str, ...] = (WORDS, DISTINCT_1, DISTINCT_2, REPETITION, LEXICAL_VARIETY)

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - words do not depend on them
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`."""
        return [text_scores(answer.text) for answer in answers]


def text_scores(text: str) -> dict[str, float]:
    """Returns every score of `TextScorer` that applies to a text."""
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
    """Returns the share of different runs of n words, or None if there is no such run."""
    runs = _runs(words, n)
    return len(set(runs)) / len(runs) if runs else None


def repetition(words: Sequence[str], n: int = REPEATED_WORDS) -> float | None:
    """Returns the share of runs of n words that occurred before, or None if there is no run."""
    share = distinct(words, n)
    return None if share is None else 1.0 - share


def lexical_variety(words: Sequence[str], window: int = WINDOW) -> float | None:
    """Returns the share of different words in a window, on average over all its positions.

    Returns:
        A number above 0 and at most 1; None if there are fewer words than the window has.
    """
    runs = _runs(words, window)
    return sum(len(set(run)) for run in runs) / (len(runs) * window) if runs else None


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


class SentimentScorer:
    """The compound score of VADER (Hutto and Gilbert 2014), from -1 to 1, for English.

    It adds up the values of words in a lexicon, and knows nothing of what a text means. Long texts
    of mostly pleasant words come close to 1, whatever they are about.

    Attributes:
        name: "vader" and the version of the package, since versions may differ in their lexicon.

    Raises:
        MissingDependencyError: vaderSentiment is not installed.
    """

    score_names: tuple[str, ...] = (SENTIMENT,)

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import (  # noqa: PLC0415 - optional
                SentimentIntensityAnalyzer,
            )
        except ImportError as error:
            raise MissingDependencyError.for_extra("vaderSentiment", "evaluation") from error
        self.name: str = f"vader {version('vaderSentiment')}"
        self._vader = SentimentIntensityAnalyzer()

    def score(
        self,
        answers: Sequence[Answer],
        preferences: Mapping[str, Preference],  # noqa: ARG002 - the lexicon is the same for all
    ) -> list[dict[str, float]]:
        """Measures answers; see `Scorer`. A blank answer has no sentiment."""
        return [
            {SENTIMENT: float(self._vader.polarity_scores(answer.text)["compound"])}
            if answer.text.strip()
            else {}
            for answer in answers
        ]


def has_sentiment() -> bool:
    """Whether the lexicon is installed."""
    return find_spec("vaderSentiment") is not None
