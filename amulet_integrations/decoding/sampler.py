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
        self._processors = _processors(params)
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
        return self._generator is None and not self._processors

    def sample(self, logits: Tensor, completion_ids: Sequence[int]) -> Tensor:
        """Picks the next token.

        Args:
            logits: Logits of the policy, shape (vocab,).
            completion_ids: The tokens generated so far: what the repetition penalty sees.

        Returns:
            The token id, an int64 tensor of shape () on the device of `logits`.
        """
        seen = torch.tensor([completion_ids], dtype=torch.long, device=logits.device)
        seen = cast("torch.LongTensor", seen)
        scores = self._processors(seen, cast("torch.FloatTensor", logits[None, :]))[0]
        if self._generator is None:
            return scores.argmax()
        probabilities = torch.softmax(scores, dim=-1)
        return torch.multinomial(probabilities, 1, generator=self._generator)[0]


def _processors(params: SamplingParams) -> LogitsProcessorList:
    processors = LogitsProcessorList()
    if params.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.temperature == 0:
        # The filters below always keep the likeliest token, which is the one greedy takes.
        return processors
    processors.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k > 0:
        processors.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        processors.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0.0:
        processors.append(MinPLogitsWarper(params.min_p))
    return processors
