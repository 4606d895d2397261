"""A policy that writes a given completion, and scores its tokens as they come."""

from __future__ import annotations

import torch
from torch import Tensor

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.sampling.scoring import ScoringRequest


class ForcedPolicy:
    """The policy of a request that is not sampled, but scored.

    Args:
        scoring: The completion, its contexts and the mixtures.
        device: The device of the logits.
    """

    def __init__(self, scoring: ScoringRequest, device: torch.device) -> None:
        self._scoring = scoring
        self._log_probs = scoring.scorer(device)
        self._columns: list[Tensor] = []

    def __call__(self, log_probs: Tensor) -> Tensor:
        """Scores the next token, and leaves no other one; log_probs of shape (contexts, vocab)."""
        token = self._scoring.completion_ids[len(self._columns)]
        self._columns.append(self._log_probs(log_probs[:, None], [token]))
        policy = torch.full_like(log_probs[0], -torch.inf)
        policy[token] = 0.0
        return policy

    def request(self) -> GenerationRequest:
        """The request whose policy this is."""
        return GenerationRequest(
            contexts=self._scoring.contexts,
            policy=self,
            sampling=SamplingParams(max_new_tokens=len(self._scoring.completion_ids)),
        )

    def scores(self) -> Tensor:
        """The log-probabilities, shape (contexts or mixtures, tokens), float32, on the CPU."""
        return torch.cat(self._columns, dim=1)
