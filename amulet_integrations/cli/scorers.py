"""What `amulet evaluate` measures answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.evaluation.metrics.relevance import (
    EMBEDDED_ENCODER,
    RelevanceScorer,
    embedded_encoder_path,
    has_embedded_encoder,
)

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Scorer

_NOT_MEASURED = "none"


def check_relevance(name: str | None) -> None:
    """Finds out, before anything is loaded, whether the embedded encoder is there if it is named.

    Raises:
        MissingDependencyError: It is not.
    """
    if name == EMBEDDED_ENCODER:
        embedded_encoder_path()


def make_scorers(
    relevance: str | None, reward_model: str | None, index: int | None, *, trust_remote_code: bool
) -> list[Scorer]:
    """Loads what measures, with the models that it needs.

    Args:
        relevance: What `--relevance` said: an encoder, "none", or None for the embedded one where
            it is installed.
        reward_model: What `--reward-model` said.
        index: Which of its rewards counts.
        trust_remote_code: Whether code that comes with the reward model is run.

    Raises:
        ModelError: A model cannot be loaded.
        EvaluationError: The reward model gives no such reward.
    """
    from amulet_integrations.evaluation.metrics.text_scores import (  # noqa: PLC0415
        SentimentScorer,
        TextScorer,
        has_sentiment,
    )

    scorers: list[Scorer] = [TextScorer()]
    if has_sentiment():
        scorers.append(SentimentScorer())
    if relevance is None and has_embedded_encoder():
        relevance = EMBEDDED_ENCODER
    if relevance not in {None, _NOT_MEASURED}:
        scorers.append(RelevanceScorer.from_pretrained(relevance))
    if reward_model is not None:
        from amulet_integrations.evaluation.metrics.reward_model import (  # noqa: PLC0415 - torch
            RewardModelScorer,
        )

        scorers.append(
            RewardModelScorer.from_pretrained(
                reward_model, index=index, trust_remote_code=trust_remote_code
            )
        )
    return scorers
