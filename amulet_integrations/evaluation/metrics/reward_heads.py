"""The reward in what a model's head gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amulet_integrations.errors import EvaluationError

if TYPE_CHECKING:
    from torch import Tensor

REWARD = "reward"
"""What a reward model's score is called, unless a run has two of them."""

INSTRUCTION_FOLLOWING = 6
"""Where ArmoRM's `rewards` have how well instructions are followed (UltraFeedback's)."""


def reward_column(
    output: Any, rows: int, index: int | None, model: str
) -> tuple[Tensor, int | None]:
    """The reward that counts.

    Args:
        output: The model's. Several rewards are its `rewards`, one is its `logits`.
        rows: How many answers it is about.
        index: Which of several rewards counts; None takes the only one, or ArmoRM's instruction
            following.
        model: What the model is called.

    Returns:
        The reward of each row; and which it is, None where there is one.

    Raises:
        EvaluationError: There is no such reward.
    """
    rewards = getattr(output, "rewards", None)
    if rewards is not None:
        index = INSTRUCTION_FOLLOWING if index is None else index
    else:
        rewards = getattr(output, "logits", None)
    if rewards is None or rewards.dim() != 2 or len(rewards) != rows:  # noqa: PLR2004
        shape = "nothing" if rewards is None else f"shape {tuple(rewards.shape)}"
        raise EvaluationError(
            f"{model} is no reward model: for {rows} answers its head gave {shape}, and ({rows}, "
            "rewards) is needed. Use a sequence-classification model that was trained to give "
            "rewards."
        )
    width = rewards.shape[1]
    chosen = 0 if index is None and width == 1 else index
    if chosen is None or not 0 <= chosen < width:
        raise EvaluationError(
            f"{model} gives {width} values for each answer, and index={chosen} says which of them "
            f"is the reward. Give an index from 0 to {width - 1}, or use a model with a single one."
        )
    return rewards[:, chosen], chosen if width > 1 else None
