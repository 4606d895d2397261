"""What an engine is asked for: contexts, their weights, and how to sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.errors import AmuletError, InvalidRequestError
from amulet_integrations.validation import FrozenModel

Policy = Callable[[Any], Any]
"""f(log-probabilities of the contexts (contexts, vocab), float32) -> the policy's (vocab,)."""


class GenerationRequest(FrozenModel):
    """One completion, decoded from several contexts in lockstep.

    Attributes:
        contexts: Token ids of each context, base before pref; none of them empty. Nested
            sequences, arrays and tensors of integers will do.
        weights: Weight of each context in the mixture; they add up to 1. May be left out for a
            single context. Contexts of weight 0 are not run.
        policy: Instead of weights: a function of the contexts' log-probabilities (contexts,
            vocab) that returns the policy's (vocab,), called on the engine's own thread at every
            token. It needs not be normalised.
        sampling: How to pick tokens from the policy and when to stop.
        timeout: Seconds from submission after which the request fails with
            `RequestTimeoutError`; None waits for ever.

    Raises:
        InvalidRequestError: No context, an empty one, a negative token id, or weights that do
            not fit the contexts or do not add up to 1.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidRequestError

    contexts: tuple[tuple[int, ...], ...] = Field(min_length=1, repr=False)
    weights: tuple[FiniteFloat, ...] | None = None
    policy: Policy | None = None
    sampling: SamplingParams = SamplingParams()
    timeout: float | None = Field(default=None, gt=0.0)

    @field_validator("contexts", mode="before")
    @classmethod
    def _tensors_are_lists(cls, contexts: Any) -> Any:
        if hasattr(contexts, "tolist"):
            return contexts.tolist()
        if isinstance(contexts, list | tuple):
            return [ids.tolist() if hasattr(ids, "tolist") else ids for ids in contexts]
        return contexts

    @field_validator("contexts")
    @classmethod
    def _contexts_hold_tokens(cls, contexts: tuple[tuple[int, ...], ...]) -> Any:
        for index, ids in enumerate(contexts):
            if not ids:
                raise InvalidRequestError(
                    f"contexts[{index}] holds no token. Every context needs at least one; "
                    "start it with the model's beginning-of-text token."
                )
            if min(ids) < 0:
                raise InvalidRequestError(
                    f"contexts[{index}] holds the token id {min(ids)}; ids are never negative."
                )
        return contexts

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.policy is not None:
            if self.weights is not None:
                raise InvalidRequestError("Pass weights or a policy, not both.")
            return self
        count = len(self.contexts)
        if self.weights is None:
            if count > 1:
                raise InvalidRequestError(
                    f"{count} contexts need {count} weights (or a policy) that mix them."
                )
            return self
        if len(self.weights) != count:
            raise InvalidRequestError(
                f"{len(self.weights)} weights for {count} contexts; pass one for each."
            )
        _check_sum(self.weights)
        return self

    def running_contexts(
        self,
    ) -> tuple[tuple[tuple[int, ...], ...], tuple[float, ...] | None]:
        """The contexts that are run, those of weight 0 left out, and their weights if any."""
        if self.policy is not None:
            return self.contexts, None
        pairs = zip(self.contexts, self.weights or (1.0,), strict=True)
        running = [(ids, weight) for ids, weight in pairs if weight != 0]
        return tuple(ids for ids, _ in running), tuple(weight for _, weight in running)


def _check_sum(weights: tuple[float, ...]) -> None:
    total = math.fsum(weights)
    # The rounding of a sum grows with its largest term; weights may come as float32.
    tolerance = 1e-7 * max(1.0, *map(abs, weights))
    if not abs(total - 1.0) <= tolerance:
        raise InvalidRequestError(
            f"weights={list(weights)} add up to {total:g}; the weights of a mixture add up to 1."
        )
