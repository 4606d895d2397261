"""How positive an answer's words are, by a lexicon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.runs.records import Answer, Preference

SENTIMENT = "sentiment"


class SentimentScorer:
    """The compound score of VADER (Hutto and Gilbert 2014), from -1 to 1, for English.

    It adds up what words are worth by a lexicon, so it knows nothing of what a text says. Long
    texts of mostly pleasant words come near to 1 whatever they are about.

    Attributes:
        name: With the package's version, as another one may have another lexicon.

    Raises:
        MissingDependencyError: vaderSentiment is not installed.
    """

    score_names = (SENTIMENT,)

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import (  # noqa: PLC0415 - optional
                SentimentIntensityAnalyzer,
            )
        except ImportError as error:
            raise MissingDependencyError.for_extra("vaderSentiment", "evaluation") from error
        self.name = f"vader {_version()}".strip()
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


def _version() -> str:
    try:
        return version("vaderSentiment")
    except PackageNotFoundError:  # a copy that nobody installed
        return ""
