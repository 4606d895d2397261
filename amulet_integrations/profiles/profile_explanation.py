"""Which preferences of a user hold, why the others do not, and the guidance that results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.decoding.guidance import preference_weights
from amulet_integrations.decoding.strength import Preset, method_strength

from .active import Verdict, explain, group_preferences
from .inheritance import Line, inherited
from .profile import PreferenceProfile


@dataclass(frozen=True)
class ProfileExplanation:
    """Which preferences of a profile hold at a time and in a context.

    Attributes:
        line: The profile, its parent and so on.
        at: The time.
        context: What the call is about.
    """

    line: Line
    at: datetime
    context: Mapping[str, str]

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each preference, those of the furthest ancestor first."""
        return explain(self.line, self.at, self.context)

    @cached_property
    def whole(self) -> PreferenceProfile:
        """The profile with what it inherits."""
        return inherited(self.line)

    @property
    def strength(self) -> Preset:
        """The strength; the defaults where the profile leaves it to the caller."""
        return method_strength(self.whole.method or "amulet", self.whole.strength)

    @property
    def gate(self) -> dict[str, Any] | None:
        """The gate as plain JSON values; None for none."""
        gate = self.whole.strength.settled_gate
        return None if gate is None else gate.model_dump()

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the base context and of each preference context."""
        holding = [it.preference for it in self.verdicts if it.holds]
        if self.whole.method == "base":
            holding = []
        return preference_weights(self.strength.guidance_scale, group_preferences(holding)[1])

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "user_id": self.whole.user_id,
            "at": self.at.isoformat(),
            "preference_context": dict(self.context),
            "line": [profile.user_id for profile in self.line],
            "missing_parent": self.line[-1].parent,
            "method": self.whole.method,
            "guidance_scale": self.strength.guidance_scale,
            "max_kl": self.strength.max_kl,
            "gate": self.gate,
            "weights": list(self.weights),
            "preferences": [
                {
                    "profile": it.user_id,
                    "holds": it.holds,
                    "reason": it.reason,
                    **it.preference.model_dump(mode="json"),
                }
                for it in self.verdicts
            ],
        }
