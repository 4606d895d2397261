"""A request to an engine: contexts, their weights, and how to sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import Field, InstanceOf, field_validator, model_validator

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.decoding.guidance import LARGEST_GUIDANCE_SCALE, check_max_kl
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine.structured.alternatives import OutputAlternative, Weights
from amulet_integrations.errors import AmuletError, InvalidRequestError
from amulet_integrations.validation import FrozenModel

Policy = Callable[[Any], Any]
_LARGEST_WEIGHT = 10 * LARGEST_GUIDANCE_SCALE
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
        max_kl: A bound, in nats and at least 0, on the divergence of every token's policy from the
            mixture `reference_weights`: the weights act as far as it allows (see
            `decoding.divergence`). None for none. Mixtures of the first context alone apply no
            preference, and are never bounded.
        reference_weights: The mixture at guidance 1, from which `max_kl` is measured, and which is
            the `pref` of explanations. By default the second context alone, where there are two.
        alternatives: The forms that the completion may take; any text where there are none. Tokens
            are drawn with `weights` while several alternatives are possible, and with the weights
            of the last one once the others are ruled out. `branches` is their former name.
        thoughts_end: What ends a reasoning model's thoughts, such as "</think>", where alternatives
            follow them. They are any text, drawn with `weights`, and take at most half of the
            tokens.
        thoughts_begin: What the model begins its thoughts with, if it wants to have any; None
            where the prompt has begun them.
        sampling: How to pick tokens from the policy and when to stop.
        end_ids: Tokens that end the text, beside the engine's own: those of a `PromptBuilder` with
            a chat template of its own, for example.
        timeout: Seconds from submission after which the request fails with
            `RequestTimeoutError`; None waits for ever.
        deadline: Of the call that the request is part of. It counts in the place of `timeout`, from
            the call on, and what ends the call ends the request.
        user_id: The user whose request it is. Users take turns where requests wait, and the
            requests of one user take a bounded share of the threads that prepare requests. All
            requests without a user count as those of one more user.
        cache_salt: What has been computed of a context serves requests of the same salt only, so
            that nobody can find out by timing what requests of another salt begin with. Use one
            salt for each user, or for those who may know of each other. It is not empty. None, the
            default, is a salt of its own.
        logprobs: Whether increments have the log-probability of each token, and how many of the
            likeliest tokens beside it, at most 20. They are those of the policy itself: before
            penalty, grammar, temperature and filters.
        explain: Whether increments have a `TokenExplanation` of each token, and how many of the
            likeliest tokens each of its policies names, at most 20. All contexts are run then, also
            those of weight 0. None, the default, costs nothing.
        skip_special_tokens: Whether the text leaves special tokens out. End-of-text tokens are
            never part of it.

    Raises:
        InvalidRequestError: No context, an empty one, a negative token id, weights that do not
            fit the contexts or do not add up to 1, or a bound that is negative, not finite,
            beside a policy, or measured from nothing; or an explanation of a policy of your own.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidRequestError

    contexts: tuple[tuple[int, ...], ...] = Field(min_length=1, repr=False)
    weights: Weights | None = None
    policy: Policy | None = None
    max_kl: float | None = None
    reference_weights: Weights | None = None
    alternatives: tuple[OutputAlternative, ...] = ()
    thoughts_end: str | None = Field(default=None, min_length=1)
    thoughts_begin: str | None = Field(default=None, min_length=1)
    sampling: SamplingParams = SamplingParams()
    end_ids: frozenset[int] = frozenset()
    timeout: float | None = Field(default=None, gt=0.0)
    deadline: InstanceOf[Deadline] | None = Field(default=None, exclude=True, repr=False)
    user_id: str | None = Field(default=None, repr=False)
    cache_salt: str | None = Field(default=None, min_length=1, repr=False)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    explain: int | None = Field(default=None, strict=True, ge=0, le=20)
    skip_special_tokens: bool = True

    @model_validator(mode="before")
    @classmethod
    def _rename_branches(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or "branches" not in fields:
            return fields
        warnings.warn(
            "GenerationRequest(branches=...) is now called alternatives=. The old name goes with "
            "the next release.",
            DeprecationWarning,
            stacklevel=4,
        )
        if "alternatives" in fields:
            raise InvalidRequestError("branches= is the former name of alternatives=: pass one.")
        renamed = {name: value for name, value in fields.items() if name != "branches"}
        return {**renamed, "alternatives": fields["branches"]}

    @field_validator("max_kl", mode="before")
    @classmethod
    def _check_max_kl(cls, max_kl: Any) -> float | None:
        return check_max_kl(max_kl, error_type=InvalidRequestError)

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

    @field_validator("end_ids")
    @classmethod
    def _end_ids_are_ids(cls, end_ids: frozenset[int]) -> frozenset[int]:
        if end_ids and min(end_ids) < 0:
            raise InvalidRequestError(
                f"end_ids holds the token id {min(end_ids)}; ids are never negative."
            )
        return end_ids

    @model_validator(mode="after")
    def _check_mixtures(self) -> Self:
        if self.policy is not None:
            if self.weights is not None or self.alternatives:
                raise InvalidRequestError(
                    "Pass weights and alternatives, or a policy, not both: they are for the "
                    "engine's own mixture."
                )
            if self.max_kl is not None or self.reference_weights is not None:
                raise InvalidRequestError(
                    f"max_kl={self.max_kl!r} is given with a policy. The bound is one on the "
                    "engine's own mixture: bound the policy yourself, or pass weights."
                )
            if self.explain is not None:
                raise InvalidRequestError(
                    f"explain={self.explain} is given with a policy. Only mixtures can be "
                    "explained, for what a policy of your own does to a context is not known: pass "
                    "weights, or leave explain out."
                )
            return self
        count = len(self.contexts)
        if self.weights is None and count > 1:
            raise InvalidRequestError(
                f"{count} contexts need {count} weights (or a policy) that mix them."
            )
        for weights in self._mixtures:
            _check_weights("weights", weights, count)
        if self.reference_weights is not None:
            if not self._measured_from_reference:
                raise InvalidRequestError(
                    "reference_weights are given without max_kl, the bound that is measured from "
                    "them."
                )
            _check_weights("reference_weights", self.reference_weights, count)
        elif measured := self._measured_from_reference if count > 2 else "":  # noqa: PLR2004
            raise InvalidRequestError(
                f"{measured} with {count} contexts: pass reference_weights, the mixture at "
                "guidance 1, from which the divergence is measured."
            )
        return self

    def start_deadline(self) -> Deadline:
        """The deadline of the request itself, which can be cancelled without ending the call."""
        return Deadline(self.timeout) if self.deadline is None else self.deadline.part()

    @property
    def running(self) -> tuple[int, ...]:
        """Which contexts are run: those that have a weight other than 0 somewhere.

        Explanations need all of them.
        """
        if self.policy is not None or self.explain is not None:
            return tuple(range(len(self.contexts)))
        mixtures = [*self._mixtures, *filter(None, [self._reference])]
        of_contexts = zip(*mixtures, strict=True)
        return tuple(index for index, weights in enumerate(of_contexts) if any(weights))

    @property
    def running_contexts(self) -> tuple[tuple[int, ...], ...]:
        """The contexts that are run."""
        return tuple(self.contexts[index] for index in self.running)

    def running_weights(self, weights: Weights | None) -> Weights:
        """A mixture's weights of the contexts that are run; None stands for the request's own."""
        weights = weights or self.weights or (1.0,)
        return tuple(weights[index] for index in self.running)

    @property
    def explained_reference(self) -> Weights | None:
        """The weights at guidance 1, of all contexts; None where there is one context only."""
        return self.reference_weights or ((0.0, 1.0) if len(self.contexts) > 1 else None)

    @property
    def running_reference(self) -> Weights | None:
        """The reference's weights of the contexts that are run; None where nothing is bounded."""
        return None if self._reference is None else self.running_weights(self._reference)

    @property
    def _measured_from_reference(self) -> str:
        """What needs the mixture at guidance 1."""
        if self.max_kl is not None:
            return f"max_kl={self.max_kl:g}"
        return "" if self.explain is None else f"explain={self.explain}"

    @property
    def _reference(self) -> Weights | None:
        """The mixture that bounds are measured from, where a mixture has one."""
        if self.max_kl is None or not any(any(mixture[1:]) for mixture in self._mixtures):
            return None
        return self.reference_weights or (0.0, 1.0)

    @property
    def _mixtures(self) -> list[Weights]:
        """Every mixture that some token may be drawn with."""
        own = self.weights or (1.0,)
        if not self.alternatives:
            return [own]
        mixtures = [own] if len(self.alternatives) > 1 or self.thoughts_end else []
        for alternative in self.alternatives:
            weights = alternative.weights or own
            mixtures += [weights, alternative.string_weights or weights]
        return mixtures


def _check_weights(name: str, weights: Weights, contexts: int) -> None:
    if len(weights) != contexts:
        raise InvalidRequestError(
            f"{len(weights)} {name} for {contexts} contexts; pass one for each."
        )
    total = math.fsum(weights)
    if largest := next((it for it in weights if not abs(it) <= _LARGEST_WEIGHT), None):
        raise InvalidRequestError(
            f"{name} has {largest!r}; the magnitude of a weight is at most {_LARGEST_WEIGHT:,.0f}."
        )
    # The rounding of a sum grows with its largest term; weights may come as float32.
    tolerance = 1e-7 * max(1.0, *map(abs, weights))
    if not abs(total - 1.0) <= tolerance:
        raise InvalidRequestError(
            f"{name}={list(weights)} add up to {total:g}; the weights of a mixture add up to 1."
        )
