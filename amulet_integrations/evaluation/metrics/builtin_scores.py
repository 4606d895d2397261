"""The scores of this package: their names, their notes in a report, and what preferences raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amulet_integrations.evaluation.data.record_types import BOUNDED_TOKENS

REWARD = "reward"
PREFERENCE_RATIO = "preference_ratio"
PREF_NLL = "pref_nll"
FLUENCY = "fluency_nll"
BROKEN = "broken"
RELEVANCE = "relevance"
SENTIMENT = "sentiment"
WORDS = "words"
LEXICAL_VARIETY = "lexical_variety"
DISTINCT_1 = "distinct_1"
DISTINCT_2 = "distinct_2"
REPETITION = "repetition"

BROKEN_NLL = 1.6
"""An answer with a larger `pref_nll` counts as broken, in nats per token.

The threshold is this package's own yardstick and not one of the literature. It was found by reading
answers of the embedded model: answers that read well are below it, and nonsense is far above it.
"""

REPEATED_WORDS = 4
"""The length of the runs of words that `repetition` counts."""

WINDOW = 25
"""The number of consecutive words that `lexical_variety` looks at."""


@dataclass(frozen=True)
class ScoreNote:
    """How a report presents a score.

    Attributes:
        score: The name in `Answer.scores`.
        label: The name in tables.
        meaning: What the score measures, and what it does not.
        better: Which direction is better; None if neither is.
        digits: How many decimal places are shown.
    """

    score: str
    label: str
    meaning: str
    better: Literal["higher", "lower"] | None = None
    digits: int = 3

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is better, otherwise 0."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]


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
        "nats per token. It is the very thing that Amulet and linear alignment raise: it shows how "
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
        "The share of different pairs of words in the answer. It falls as answers grow; the other "
        "pairs are repeated ones.",
    ),
    ScoreNote(
        REPETITION,
        "Repetition",
        f"The share of runs of {REPEATED_WORDS} words that occurred before in the answer.",
        "lower",
    ),
)
BUILTIN_SCORES = {note.score: note for note in _NOTES}
"""The scores of this package, in the order of a report. No other scorer may use these names."""

MAIN_SCORES = frozenset({REWARD, PREFERENCE_RATIO, PREF_NLL, RELEVANCE, BROKEN})
"""The scores that a reader looks at first."""


def note_of(score: str) -> ScoreNote:
    """Returns the note of a score, also of a score that is not this package's."""
    return BUILTIN_SCORES.get(score) or ScoreNote(
        score, score.replace("_", " "), "Given by a scorer of this run, under this name."
    )


@dataclass(frozen=True)
class Target:
    """The score in which a preference should show, and which no method optimises.

    Attributes:
        score: The name of the score.
        direction: Whether the preference asks for more of it or for fewer.
    """

    score: str
    direction: Literal["more", "fewer"]

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if fewer is."""
        return 1 if self.direction == "more" else -1


TARGETS = {
    "creative": Target(LEXICAL_VARIETY, "more"),
    "verbose": Target(WORDS, "more"),
    "concise": Target(WORDS, "fewer"),
    "uplifting": Target(SENTIMENT, "more"),
}
"""By the name of the preference. What other preferences ask for cannot be counted."""
