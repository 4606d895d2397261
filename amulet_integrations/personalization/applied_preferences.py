"""Which preferences a call is decoded with, and how strongly."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.decoding.preference_gate import PreferenceGate
from amulet_integrations.decoding.strength import Method
from amulet_integrations.profiles import Preference

from .user_resolution import Source


class GatedPreference(NamedTuple):
    """A preference that a gate has looked at.

    Attributes:
        preference: The preference.
        score: Its score for the question; infinite where it belongs into every answer.
    """

    preference: Preference
    score: float

    def describe(self, shown: set[str]) -> dict[str, Any]:
        """The shown fields and the score as plain JSON values; null where it is infinite."""
        score = round(self.score, 4) if math.isfinite(self.score) else None
        return {**self.preference.model_dump(include=shown), "gate_score": score}


@dataclass(frozen=True, repr=False)
class Personalization:
    """Which preferences one call is decoded with, by which method and how strongly.

    Its `repr` shows a digest and no text of a preference. Calls whose answers may differ have
    different digests, so that the `repr` can be part of a cache key.

    Attributes:
        user_id: The user; None for a preference of nobody in particular.
        version: The version of the user's stored profile; None where none is stored.
        preferences: The active preferences, without those that the gate left out.
        method: The method.
        guidance_scale: The guidance scale that is applied.
        max_kl: The bound on what the guidance may do to a token, in nats; None for none.
        preset: The name of the strength where it has one: a preset's, or "saved" for the one that
            was saved for this model.
        source: The level at which the user was named; None when nobody was named.
        gate: Decides by the question which preferences act; None for no gate.
        gate_encoder: The sentence embedding that it goes by; None for no gate.
        scores: What it found of each preference; () where it has not looked yet.
        left_out: The preferences that it left out.
    """

    user_id: str | None
    version: int | None
    preferences: tuple[Preference, ...]
    method: Method
    guidance_scale: float
    max_kl: float | None
    preset: str | None
    source: Source | None
    gate: PreferenceGate | None = None
    gate_encoder: str | None = None
    scores: tuple[float, ...] = ()
    left_out: tuple[GatedPreference, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything that shapes the answer or is reported with it."""
        facts = [
            self.describe(),
            [(it.text, it.weight, it.kind if self.gate else None) for it in self.preferences],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def applied_method(self) -> Method:
        """The method that the answer is decoded with: "base" where no preference is active."""
        return self.method if self.preferences else "base"

    def gated(self, scores: Sequence[float]) -> Self:
        """The same without the preferences whose score is below the gate's threshold.

        Args:
            scores: The score of each preference for the question.
        """
        assert self.gate is not None  # noqa: S101
        least = self.gate.threshold
        found = [*map(GatedPreference, self.preferences, scores)]
        acting = [it for it in found if it.score >= least]
        gated = replace(
            self,
            preferences=tuple(it.preference for it in acting),
            scores=tuple(it.score for it in acting),
            left_out=tuple(it for it in found if it.score < least),
        )
        if acting:
            return gated
        return replace(gated, guidance_scale=0.0, max_kl=None, preset=None)

    def describe(
        self, *, texts: bool = False, fractions: Sequence[float | None] = ()
    ) -> dict[str, Any]:
        """What was applied, as plain JSON values.

        Args:
            texts: Whether to include the preferences' texts, which are private.
            fractions: The answer's `Increment.guidance_fractions`. With them the result includes
                how many tokens the bound held back, and the mean of the guidance scales that were
                used.
        """
        shown = {"name", "weight", "text"} if texts else {"name", "weight"}
        used: dict[str, Any] = {}
        if guided := [fraction for fraction in fractions if fraction is not None]:
            mean = sum(guided) / len(guided)
            used = {
                "bounded_tokens": sum(fraction < 1.0 for fraction in guided),
                "mean_guidance_scale": 1.0 + mean * (self.guidance_scale - 1.0),
            }
        return {
            "user_id": self.user_id,
            "profile_version": self.version,
            "source": self.source,
            "method": self.applied_method,
            "guidance_scale": self.guidance_scale,
            "max_kl": self.max_kl,
            "preset": self.preset,
            **used,
            **self._described_gate(shown),
        }

    def _described_gate(self, shown: set[str]) -> dict[str, Any]:
        if self.gate is None:
            return {"preferences": [it.model_dump(include=shown) for it in self.preferences]}
        scores = self.scores or [math.inf] * len(self.preferences)
        return {
            "preferences": [
                it.describe(shown) for it in map(GatedPreference, self.preferences, scores)
            ],
            "gate": {**self.gate.model_dump(), "encoder": self.gate_encoder},
            "left_out": [it.describe(shown) for it in self.left_out],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint})"
