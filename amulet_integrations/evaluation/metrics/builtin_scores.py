"""The names of this package's own scores, which nobody else's score may have."""

from __future__ import annotations

from amulet_integrations.evaluation.metrics.likelihoods import LikelihoodScorer
from amulet_integrations.evaluation.metrics.relevance import RELEVANCE
from amulet_integrations.evaluation.metrics.reward_heads import REWARD
from amulet_integrations.evaluation.metrics.sentiment import SentimentScorer
from amulet_integrations.evaluation.metrics.text_scores import TextScorer
from amulet_integrations.evaluation.runs.records import BOUNDED_TOKENS

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
