"""What one call is decoded with: whose preferences, by which method, how strongly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amulet_integrations.decoding.strength import Method
from amulet_integrations.personalization.selection import Source
from amulet_integrations.profiles import Preference


@dataclass(frozen=True, repr=False)
class Personalization:
    """What one call is decoded with; made once, immutable, and silent about preference texts.

    Its `repr` tells answers apart that must not be confused, and so can be part of a cache key.

    Attributes:
        user_id: The user, where one was named.
        version: The version of the user's stored profile.
        preferences: The preferences in force.
        method: The method.
        guidance_scale: The strength that all of it comes to.
        max_kl: The bound on what that does to a token, in nats; None for none.
        preset: The name of the strength where it has one: a preset's, or "saved" for the one that
            was saved for this model.
        source: Which level named the user; None when nobody was named.
    """

    user_id: str | None
    version: int | None
    preferences: tuple[Preference, ...]
    method: Method
    guidance_scale: float
    max_kl: float | None
    preset: str | None
    source: Source | None

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything that shapes the answer or is told about it."""
        facts = [
            self.describe(),
            [(preference.text, preference.weight) for preference in self.preferences],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def describe(
        self, *, texts: bool = False, fractions: Sequence[float | None] = ()
    ) -> dict[str, Any]:
        """Says what was applied, as plain JSON values.

        Args:
            texts: Whether the preferences' texts are told as well; they are private.
            fractions: The answer's `Increment.guidance_fractions`. With them it says how many
                tokens the bound held back, and the mean of the guidance scales that were used
                where there was one.
        """
        told = {"name", "weight", "text"} if texts else {"name", "weight"}
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
            "method": self.method if self.preferences else "base",
            "guidance_scale": self.guidance_scale,
            "max_kl": self.max_kl,
            "preset": self.preset,
            **used,
            "preferences": [preference.model_dump(include=told) for preference in self.preferences],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint})"
