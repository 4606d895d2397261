"""Choosing one token from a policy, with transformers' own processors."""

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

from amulet_integrations.decoding.sampling_params import SamplingParams


class TokenSampler:
    """Picks the tokens of one request; owns the request's random state.

    Args:
        params: What to sample with. `max_new_tokens` and `stop` are not its business.
        device: Where the policies will be; the random generator lives there.
    """

    def __init__(self, params: SamplingParams, device: torch.device | str = "cpu") -> None:
        self._penalty = LogitsProcessorList()
        if params.repetition_penalty != 1.0:
            self._penalty.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
        self._filters = _filters(params)
        self._generator: torch.Generator | None = None
        if params.temperature > 0:
            self._generator = torch.Generator(device)
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed)

    @property
    def is_argmax(self) -> bool:
        """Whether the token is always the policy's likeliest, so that a batch can share one op."""
        return self._generator is None and not self._penalty

    @property
    def needs_log_probs(self) -> bool:
        """Whether a constant added to the logits would change the outcome."""
        return bool(self._penalty)

    def sample(self, logits: Tensor, completion_ids: Sequence[int]) -> Tensor:
        """Picks the next token.

        Args:
            logits: Logits of the policy, shape (vocab,).
            completion_ids: The tokens generated so far: what the repetition penalty sees.

        Returns:
            The token id, an int64 tensor of shape () on the device of `logits`.
        """
        seen = cast("torch.LongTensor", torch.tensor([completion_ids], device=logits.device).long())
        scores = self._penalty(seen, cast("torch.FloatTensor", logits[None, :]))
        if self._generator is None:
            return scores[0].argmax()
        # The highest at 0: a small temperature then makes no infinities but those of odds 0.
        scores = self._filters(seen, cast("torch.FloatTensor", scores - scores.max()))
        probabilities = torch.softmax(scores[0], dim=-1)
        return torch.multinomial(probabilities, 1, generator=self._generator)[0]


def _filters(params: SamplingParams) -> LogitsProcessorList:
    filters = LogitsProcessorList()
    if params.temperature == 0:
        # They always keep the likeliest token, which is the one greedy takes.
        return filters
    filters.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k > 0:
        filters.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        filters.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0.0:
        filters.append(MinPLogitsWarper(params.min_p))
    return filters
