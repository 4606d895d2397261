"""Amulet inside `model.generate` of transformers."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor

from amulet_integrations.errors import (
    GenerationError,
    InvalidParamsError,
    InvalidRequestError,
)

from .divergence import DivergenceBounds, mix_bounded_contexts
from .guidance import (
    DEFAULT_MAX_GUIDANCE_SCALE,
    AmuletParams,
    check_guidance_scale,
    check_max_kl,
    preference_weights,
)
from .logits_filters import LogitsFilters
from .mixture import mixing_matrix
from .sampling_params import SamplingParams
from .strength import Strength


class AmuletLogitsProcessor(LogitsProcessor):
    """Decodes base and pref rows of one `model.generate` batch with Amulet.

    The first half of the batch holds the base prompts, the second half the pref prompts in the
    same order: ``tokenizer(base_prompts + pref_prompts, padding=True)``, padded on the left.
    The processor picks each pair's token itself and returns one-hot rows, so that both rows of a
    pair take it even where `generate` samples. So give the sampling parameters to the processor,
    and leave those of `generate` at their defaults.

    Args:
        params: The game's parameters; the published ones where neither `params` nor
            `guidance_scale` is given.
        max_kl: A bound, in nats, on the divergence of every token's policy from the pref policy
            (see `decoding.divergence`); None for no bound. The base policy, guidance 0, is never
            bounded.
        guidance_scale: The guidance scale itself, in place of `params`.
        sampling: How to pick the token. Every `generate` begins with `seed` again, except one that
            continues exactly where the last one ended. `max_new_tokens` is not used: give it to
            `generate`.
        max_guidance_scale: The largest guidance scale accepted.

    Raises:
        GuidanceScaleError: The scale is past `max_guidance_scale`.
        InvalidParamsError: `params` and `guidance_scale` are both given, `max_kl` is negative or
            not finite, or `sampling` has stop strings, which `generate` takes (`stop_strings=`).

    Example:
        >>> rows = tokenizer([base_prompt, pref_prompt], padding=True, return_tensors="pt")
        >>> processor = AmuletLogitsProcessor(AmuletParams(iterations=10))
        >>> ids = model.generate(**rows, logits_processor=LogitsProcessorList([processor]))
    """

    def __init__(
        self,
        params: AmuletParams | None = None,
        max_kl: float | None = None,
        *,
        guidance_scale: float | None = None,
        sampling: SamplingParams | None = None,
        max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
    ) -> None:
        strength = Strength(guidance_scale=guidance_scale, params=params)
        if not strength.has_scale:
            strength = Strength(params=AmuletParams())
        self._sampling = sampling or SamplingParams()
        if self._sampling.stop:
            raise InvalidParamsError(
                f"stop={self._sampling.stop!r}: inside generate, pass stop_strings= and "
                "tokenizer= to generate instead."
            )
        bound = check_max_kl(max_kl)
        scale = check_guidance_scale(
            strength.settled().guidance_scale, max_guidance_scale, str(strength)
        )
        self._weights = preference_weights(scale, [1.0])
        self._max_kl = bound if scale else None
        self._filters: list[LogitsFilters] = []
        self._prompt_length = 0
        self._expected: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Picks one token for each pair.

        Args:
            input_ids: Prompt and completion so far, shape (rows, length).
            scores: Logits of the last position, shape (rows, vocab).

        Returns:
            Shape (rows, vocab): 0 at the picked token, -inf elsewhere.

        Raises:
            InvalidRequestError: The number of rows is odd.
            GenerationError: A pair has no token left, or its logits are NaN.
        """
        rows, length = input_ids.shape
        if rows % 2:
            raise InvalidRequestError(
                f"The batch has {rows} rows; pass the base prompts and then as many pref prompts."
            )
        pairs = rows // 2
        if self._expected is None or not torch.equal(self._expected, input_ids):
            # These are not the last rows with the tokens picked for them: a new `generate`.
            self._prompt_length = length
            self._filters = [LogitsFilters(self._sampling, scores.device) for _ in range(pairs)]
        completions = input_ids[pairs:, self._prompt_length :].tolist()
        tokens = self._pick(completions, self._policies(scores)).repeat(2)[:, None]
        self._expected = torch.cat([input_ids, tokens], dim=1)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)

    def _policies(self, scores: Tensor) -> Tensor:
        """Logits of each pair's policy, shape (pairs, vocab)."""
        pairs = len(scores) // 2
        if all(self._weights) and any(filters.needs_log_probs for filters in self._filters):
            scores = scores.float().log_softmax(dim=-1)
        # The mixture wants the rows of one pair side by side.
        contexts = scores.view(2, pairs, -1).transpose(0, 1).flatten(0, 1)
        matrix = mixing_matrix([self._weights] * pairs, scores.device)
        bounds = DivergenceBounds([(0.0, 1.0)] * pairs, [self._max_kl] * pairs, scores.device)
        policies = mix_bounded_contexts(contexts, matrix, bounds).logits
        if not policies.amax(dim=-1).isfinite().all():
            raise GenerationError(
                "No token can be picked: a policy is NaN, or excludes every token. "
                "Try the model in float32."
            )
        return policies

    def _pick(self, completions: list[list[int]], policies: Tensor) -> Tensor:
        pairs = zip(self._filters, policies, completions, strict=True)
        return torch.stack(
            [filters.draw(policy, completion) for filters, policy, completion in pairs]
        )
