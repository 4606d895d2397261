"""An answer, token by token, with what its preferences made of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.profiles import Preference

_LARGEST_SHIFT = 9999.0


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """One token of an answer.

    The policies are those of the model and the weights: before penalty, grammar, temperature and
    filters. Logarithms are natural; divergences are in nats.

    Attributes:
        text: The text that the token completes; "" where a character is not whole yet. Special
            tokens, such as the one that ends the answer, are written out.
        base: The token under the base policy, which knows no preference.
        pref: The token under the policy with the preferences in the prompt and no amplification.
        policy: The token under the policy that it was drawn from.
        kl_from_base: KL(policy || base); infinite where base excludes a token.
        kl_from_pref: KL(policy || pref).
        guidance_scale: The strength that was really used: 0 is base, 1 is pref. The bound
            (`max_kl`) may have held it back, and some tokens of an answer, such as those of a tool
            call, are drawn from base or pref by design.
        guidance_fraction: How much of the way from pref to the requested strength the bound
            allowed: 1 if it held nothing back, None if the token's own policy has no bound.
        preference_shifts: For each preference of the explanation, by how many nats a context with
            this preference alone makes the token likelier than base. Empty where that was not
            computed.
    """

    text: str
    base: TokenLogprob
    pref: TokenLogprob
    policy: TokenLogprob
    kl_from_base: float
    kl_from_pref: float
    guidance_scale: float
    guidance_fraction: float | None = None
    preference_shifts: tuple[float, ...] = ()

    @property
    def is_bounded(self) -> bool:
        """Whether the bound held the strength back."""
        return self.guidance_fraction is not None and self.guidance_fraction < 1.0

    @property
    def shift(self) -> float:
        """By how many nats the preferences and the guidance made the token likelier than base."""
        if self.policy.logprob == self.base.logprob:  # also where both exclude it
            return 0.0
        return self.policy.logprob - self.base.logprob

    def to_dict(self) -> dict[str, Any]:
        """The token as plain JSON values.

        -9999 is the logarithm of 0. Infinite shifts are 9999 or -9999, infinite divergences None.
        """
        return {
            "token_id": self.policy.token_id,
            "token": self.policy.token,
            "text": self.text,
            "base": _policy_dict(self.base),
            "pref": _policy_dict(self.pref),
            "policy": _policy_dict(self.policy),
            "kl_from_base": _finite(self.kl_from_base),
            "kl_from_pref": _finite(self.kl_from_pref),
            "guidance_scale": self.guidance_scale,
            "guidance_fraction": self.guidance_fraction,
            "shift": finite_shift(self.shift),
            "preference_shifts": [finite_shift(shift) for shift in self.preference_shifts],
        }


@dataclass(frozen=True)
class ExplanationData:
    """What an `Explanation` holds, under the same names."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    tokens: tuple[ExplainedToken, ...] = field(repr=False)
    preferences: tuple[Preference, ...]
    model_name: str
    method: str
    guidance_scale: float
    max_kl: float | None = None
    left_out: tuple[Preference, ...] = ()

    @property
    def bounded_tokens(self) -> int:
        """How many tokens the bound held back."""
        return sum(token.is_bounded for token in self.tokens)

    def most_moved(self, count: int = 10) -> list[int]:
        """The positions of the tokens that were moved most, in either direction, most first."""
        order = sorted(range(len(self.tokens)), key=lambda at: -abs(self.tokens[at].shift))
        return order[:count]

    def moved_by(self, token: ExplainedToken) -> int | None:
        """The position of the preference that did most to move one of its tokens.

        A preference with a negative weight moves tokens the other way. None where fewer than two
        preferences are active, where theirs were not computed, and where none moved the token in
        the direction in which it went.
        """
        if len(token.preference_shifts) < 2:  # noqa: PLR2004 - one has nobody to be compared with
            return None
        direction = 1.0 if token.shift > 0.0 else -1.0
        pushes = [
            direction * preference.weight * shift
            for preference, shift in zip(self.preferences, token.preference_shifts, strict=True)
        ]
        strongest = max(range(len(pushes)), key=pushes.__getitem__)
        return strongest if token.shift and pushes[strongest] > 0.0 else None

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain JSON values, the private texts included."""
        return {
            "question": self.question,
            "answer": self.answer,
            "model": self.model_name,
            "method": self.method,
            "guidance_scale": self.guidance_scale,
            "max_kl": self.max_kl,
            "preferences": [
                it.model_dump(include={"name", "weight", "text"}) for it in self.preferences
            ],
            "left_out": [it.model_dump(include={"name", "weight", "text"}) for it in self.left_out],
            "tokens": [token.to_dict() for token in self.tokens],
        }


def finite_shift(shift: float) -> float:
    """A shift as JSON can hold it: 9999 or -9999 where it is infinite."""
    return max(-_LARGEST_SHIFT, min(_LARGEST_SHIFT, shift))


def _policy_dict(policy: TokenLogprob) -> dict[str, Any]:
    return {"logprob": policy.finite_logprob, "top_logprobs": list(_alternatives(policy))}


def _alternatives(policy: TokenLogprob) -> Iterable[dict[str, Any]]:
    for it in policy.top:
        yield {"token_id": it.token_id, "token": it.token, "logprob": it.finite_logprob}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
