"""Penalty, temperature and filters on a policy's logits, by the classes of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from .sampling_params import SamplingParams


class LogitsFilters:
    """Applies one request's sampling parameters and draws its tokens.

    The order is: repetition penalty, temperature, top-k, top-p, min-p, draw.

    Args:
        params: The sampling parameters. `max_new_tokens`, `min_new_tokens` and `stop` are not
            used.
        device: The device of the logits. The request's random generator lives there.
    """

    def __init__(self, params: SamplingParams, device: torch.device | str = "cpu") -> None:
        self._penalty = LogitsProcessorList()
        if params.repetition_penalty != 1.0:
            self._penalty.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
        self._warpers = LogitsProcessorList()
        self._generator: torch.Generator | None = None
        if params.temperature > 0:
            self._warpers = _warpers(params)
            self._generator = torch.Generator(device)
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed)

    @property
    def is_argmax(self) -> bool:
        """Whether the token is always the likeliest one, so that a batch can share one argmax."""
        return self._generator is None and not self._penalty

    @property
    def needs_log_probs(self) -> bool:
        """Whether a constant added to the logits would change the token."""
        return bool(self._penalty)

    def draw(self, logits: Tensor, completion_ids: Sequence[int]) -> Tensor:
        """Draws the next token.

        Args:
            logits: Logits of the policy, shape (vocab,).
            completion_ids: The tokens generated so far. The repetition penalty applies to them.

        Returns:
            The token id, an int64 tensor of shape () on the device of `logits`.
        """
        if self.is_argmax:
            return logits.argmax()
        ids = cast("torch.LongTensor", torch.tensor([completion_ids], device=logits.device).long())
        scores = self._penalty(ids, cast("torch.FloatTensor", logits[None, :]))
        if self._generator is None:
            return scores[0].argmax()
        # With the highest score at 0, a small temperature overflows to -inf only: odds of 0.
        scores = self._warpers(ids, cast("torch.FloatTensor", scores - scores.max()))
        probabilities = torch.softmax(scores[0], dim=-1)
        return torch.multinomial(probabilities, 1, generator=self._generator)[0]


def _warpers(params: SamplingParams) -> LogitsProcessorList:
    warpers = LogitsProcessorList([TemperatureLogitsWarper(params.temperature)])
    if params.top_k > 0:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        warpers.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0.0:
        warpers.append(MinPLogitsWarper(params.min_p))
    return warpers
