"""The names of this package's own scores, which nobody else's score may have."""

from __future__ import annotations

from amulet_integrations.evaluation.likelihoods import LikelihoodScorer
from amulet_integrations.evaluation.records import BOUNDED_TOKENS
from amulet_integrations.evaluation.relevance import RELEVANCE
from amulet_integrations.evaluation.reward_heads import REWARD
from amulet_integrations.evaluation.sentiment import SentimentScorer
from amulet_integrations.evaluation.text_scores import TextScorer

OWN_NAMES = frozenset(
    {
        BOUNDED_TOKENS,
        RELEVANCE,
        REWARD,
        *LikelihoodScorer.score_names,
        *SentimentScorer.score_names,
        *TextScorer.score_names,
    }
)
