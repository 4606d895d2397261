"""What comes back: increments while decoding, the result that they fold into, and errors."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from amulet_integrations.errors import GenerationError

_LEAST_LOGPROB = -9999.0

FinishReason = Literal["stop", "length"]
""""stop": the model ended the text, or a stop string appeared. "length": no token was left."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request.

    Attributes:
        prompt_tokens: Tokens of the first context: the conversation itself, without preferences.
        completion_tokens: Tokens generated, the end-of-text token and those of a stop string
            included.
        context_tokens: Tokens of each context that was run.
        cached_tokens: How many of those had been computed before, in an earlier request, another
            context or another user's prompt that begins alike. Two results that differ in
            nothing else are equal.
    """

    prompt_tokens: int
    completion_tokens: int
    context_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...] = field(default=(), compare=False)

    @property
    def total_tokens(self) -> int:
        """The tokens of prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was under the policy that it was drawn from.

    Attributes:
        token_id: The token.
        token: Its text.
        logprob: The natural logarithm of its probability.
        top: The likeliest tokens at this position, likeliest first, as many as were requested.
    """

    token_id: int
    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()

    @property
    def finite_logprob(self) -> float:
        """The logarithm as JSON can hold it: -9999 for minus infinity, as in OpenAI's API."""
        return max(self.logprob, _LEAST_LOGPROB)

    @property
    def utf8(self) -> list[int] | None:
        """The bytes of the text; None if the token is only a part of a character."""
        return None if "\ufffd" in self.token else list(self.token.encode())


@dataclass(frozen=True, slots=True)
class TokenExplanation:
    """What the contexts made of one token, and what the guidance made of that.

    All policies are those of the model and the weights: before penalty, grammar, temperature and
    filters. Divergences are in nats, and infinite where the other policy excludes a token.

    Attributes:
        base: The token under the base context, which knows no preference.
        policy: The token under the policy that it was drawn from.
        pref: The token under the mixture at guidance 1: with the preferences in the prompt and no
            amplification. None where the request has no preference.
        kl_from_base: KL(policy || base).
        kl_from_pref: KL(policy || pref); None where there is no pref.
        context_logprobs: The token's log-probability under each context, the base context first.
        weights: The weights of the contexts that made the policy, in the same order. Where a bound
            (`max_kl`) held the strength back, they are those that it left.
        guidance_fraction: How much of the way from guidance 1 the bound allowed, as in
            `Increment.guidance_fractions`.
    """

    base: TokenLogprob
    policy: TokenLogprob
    pref: TokenLogprob | None
    kl_from_base: float
    kl_from_pref: float | None
    context_logprobs: tuple[float, ...]
    weights: tuple[float, ...]
    guidance_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Increment:
    """One step of a stream.

    Attributes:
        text: The text that became certain; "" while a character or a stop string may be pending.
        token_ids: The tokens of this step.
        finish_reason: Set on the last increment only.
        usage: Set on the last increment only.
        logprobs: One for each of `token_ids`, if they were requested.
        guidance_fractions: For each of `token_ids`, how much of the way from guidance 1 to the
            request's weights the bound (`max_kl`) allowed: 1 if it held nothing back, None if the
            token's own mixture has no bound. Empty if the request has no bound.
        explanations: One for each of `token_ids`, if they were requested.
        shortened: Set on the last increment only: whether the output was closed sooner than the
            model would have done, because the tokens ran out. It satisfies its grammar, but
            strings in it may break off.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    guidance_fractions: tuple[float | None, ...] = ()
    explanations: tuple[TokenExplanation, ...] = ()
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """A whole completion.

    Attributes:
        token_ids: Every token generated, the end-of-text token included.
        text: The text of all increments; without special tokens, stop string or anything after.
        finish_reason: Why it ended.
        usage: Tokens used.
        logprobs: One for each token, if they were requested.
        guidance_fractions: One for each token, if there was a bound; see `Increment`.
        explanations: One for each token, if they were requested.
        shortened: Whether the output was closed early, because the tokens ran out.
    """

    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: list[TokenLogprob] = field(default_factory=list)
    guidance_fractions: list[float | None] = field(default_factory=list)
    explanations: list[TokenExplanation] = field(default_factory=list)
    shortened: bool = False

    @classmethod
    def fold(cls, increments: Iterable[Increment]) -> GenerationResult:
        """Joins the increments of a whole stream."""
        steps = list(increments)
        last = steps[-1]
        assert last.finish_reason is not None and last.usage is not None  # noqa: S101, PT018
        return cls(
            token_ids=[token for step in steps for token in step.token_ids],
            text="".join(step.text for step in steps),
            finish_reason=last.finish_reason,
            usage=last.usage,
            logprobs=[logprob for step in steps for logprob in step.logprobs],
            guidance_fractions=[part for step in steps for part in step.guidance_fractions],
            explanations=[it for step in steps for it in step.explanations],
            shortened=last.shortened,
        )


def as_generation_error(what: str, error: BaseException) -> GenerationError:
    """Makes a `GenerationError` that is caused by `error`.

    Args:
        what: What failed, as the beginning of a sentence.
        error: What was raised. The variables of its frames are released: they may be tensors, and
            callers may keep the error for long.
    """
    if error.__traceback__ is not None:
        # The frame that caught it still runs and cannot be cleared, so it is left out.
        error.__traceback__ = error.__traceback__.tb_next
    traceback.clear_frames(error.__traceback__)
    failure = GenerationError(f"{what} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
