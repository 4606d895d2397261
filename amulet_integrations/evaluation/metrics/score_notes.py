"""What each score is called in a report, and what it says and does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amulet_integrations.evaluation.metrics.likelihoods import (
    BROKEN,
    BROKEN_NLL,
    FLUENCY,
    PREF_NLL,
    PREFERENCE_RATIO,
)
from amulet_integrations.evaluation.metrics.relevance import RELEVANCE
from amulet_integrations.evaluation.metrics.reward_heads import REWARD
from amulet_integrations.evaluation.metrics.sentiment import SENTIMENT
from amulet_integrations.evaluation.metrics.text_scores import (
    DISTINCT_1,
    DISTINCT_2,
    LEXICAL_VARIETY,
    REPEATED_WORDS,
    REPETITION,
    WINDOW,
    WORDS,
)
from amulet_integrations.evaluation.runs.records import BOUNDED_TOKENS

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class ScoreNote:
    """What a report says of a score.

    Attributes:
        score: Its name in the answers.
        label: Its name for people.
        meaning: What it says.
        better: Which way is better; None where neither is.
        digits: How many decimal places are shown.
    """

    score: str
    label: str
    meaning: str
    better: Better | None = None
    digits: int = 3


_NOTES = (
    ScoreNote(
        REWARD,
        "Reward",
        "What a reward model gives the answer to the question and the preference together. It was "
        "trained on people's choices, and the methods do not optimise it.",
        "higher",
    ),
    ScoreNote(
        PREFERENCE_RATIO,
        "Preference ratio",
        "log P(answer | preference) less log P(answer | no preference) under the model itself, in "
        "nats per token. It is the very thing that Amulet and linear alignment raise: it tells how "
        "far the answers were steered, and never proves by itself that they are better.",
    ),
    ScoreNote(
        PREF_NLL,
        "Pref NLL",
        "The negative log-likelihood under the context with the preference, in nats per token. "
        "Lower is closer to what the model itself would write: its rise is the price of guidance.",
        "lower",
    ),
    ScoreNote(
        RELEVANCE,
        "Relevance",
        "The cosine of the question and the answer by a sentence embedding that no method sees: "
        "whether the answer is still about the question. It falls a little with every preference "
        "about form or tone.",
        "higher",
    ),
    ScoreNote(
        BROKEN,
        "Broken answers",
        f"The share of answers above {BROKEN_NLL:g} nats per token under the context with the "
        "preference, where text stops making sense, and of answers without any token. The "
        "threshold is this package's own yardstick.",
        "lower",
    ),
    ScoreNote(
        FLUENCY,
        "Fluency",
        "The negative log-likelihood under the context without the preference, in nats per token: "
        "how far the answer is from what the model would say to everybody.",
        "lower",
    ),
    ScoreNote(
        BOUNDED_TOKENS,
        "Tokens held back",
        "The share of an answer's tokens at which the bound allowed less guidance than the method "
        "asks for. Only methods with a bound have it.",
    ),
    ScoreNote(
        SENTIMENT,
        "Sentiment",
        "VADER's compound score, from -1 to 1: how positive the words are by an English lexicon, "
        "whatever the answer says.",
    ),
    ScoreNote(WORDS, "Words", "How many words the answer has.", digits=1),
    ScoreNote(
        LEXICAL_VARIETY,
        "Lexical variety",
        "The share of different words, on average over every "
        f"{WINDOW} words in a row (MATTR), so long answers are not at a disadvantage. "
        "Shorter answers have none and are left out.",
    ),
    ScoreNote(
        DISTINCT_1,
        "Distinct words",
        "The share of different words in the answer. It falls as answers grow.",
    ),
    ScoreNote(
        DISTINCT_2,
        "Distinct pairs",
        "The share of different pairs of words in the answer. It falls as answers grow; what is "
        "left to 1 are pairs that the answer holds already.",
    ),
    ScoreNote(
        REPETITION,
        "Repetition",
        f"The share of {REPEATED_WORDS} words in a row that the answer holds already.",
        "lower",
    ),
)
OWN_SCORES = {note.score: note for note in _NOTES}
"""The scores of this package, in the order of a report."""


def note_of(score: str) -> ScoreNote:
    """The note of a score, also of one that is not this package's."""
    return OWN_SCORES.get(score) or ScoreNote(
        score, score.replace("_", " "), "Given by a scorer of this run, under this name."
    )


def in_order(scores: set[str]) -> list[str]:
    """Scores in the order of a report: this package's, then others by name."""
    return [score for score in OWN_SCORES if score in scores] + sorted(scores - OWN_SCORES.keys())
