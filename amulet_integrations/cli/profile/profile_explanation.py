"""Which preferences of a user hold, why the others do not, and the guidance that results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from amulet_integrations.cli.options import strength_label
from amulet_integrations.cli.terminal import quoted_if_odd, short_number
from amulet_integrations.decoding.guidance import preference_weights
from amulet_integrations.decoding.strength import Preset, method_strength
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.profiles.active import Verdict, explain, group_preferences
from amulet_integrations.profiles.inheritance import Line, inherited

from .profile_text import format_time, preference_lines


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
            "weights": list(self.weights),
            "preferences": [
                {
                    "profile": it.user_id,
                    "holds": it.holds,
                    "obstacle": it.reason,
                    **it.preference.model_dump(mode="json"),
                }
                for it in self.verdicts
            ],
        }


def format_explanation(explanation: ProfileExplanation) -> str:
    """The explanation as text, for people."""
    return "\n".join(
        [quoted_if_odd(explanation.whole.user_id), *(f"  {line}" for line in _lines(explanation))]
    )


def _lines(explanation: ProfileExplanation) -> Iterator[str]:
    yield f"at           {format_time(explanation.at)}"
    about = ", ".join(f"{name} is {value}" for name, value in explanation.context.items())
    yield f"about        {about or 'nothing given (--about NAME=VALUE)'}"
    if names := [quoted_if_odd(it.parent) for it in explanation.line if it.parent is not None]:
        # The line ends with an ancestor that has a parent only where nothing is stored of that one.
        absent = "" if explanation.line[-1].parent is None else " (who has no profile)"
        yield f"inherits     from {', then '.join(names)}{absent}"
    yield "preferences" if explanation.verdicts else "preferences  none"
    for verdict in explanation.verdicts:
        marker = "  +" if verdict.holds else "  -"
        notes = _notes(verdict, explanation.whole.user_id)
        yield from preference_lines(marker, verdict.preference, notes)
    yield f"comes to     {_outcome(explanation)}"


def _notes(verdict: Verdict, user_id: str) -> Iterator[str]:
    if verdict.user_id != user_id:
        yield f"from {quoted_if_odd(verdict.user_id)}"
    if verdict.holds and verdict.preference.weight != 1.0:
        yield f"weight {short_number(verdict.preference.weight)}"
    if verdict.reason:
        yield f"does not hold: {verdict.reason}"


def _outcome(explanation: ProfileExplanation) -> str:
    base, *others = explanation.weights
    if not others:
        by_method = explanation.whole.method == "base"
        return f"plain decoding: {'the method is base' if by_method else 'no preference holds'}"
    fixed = explanation.whole.strength.has_scale or explanation.whole.method
    unless = "" if fixed else " unless the caller says"
    mixture = ", ".join([f"{base:+.3g} base", *(f"{weight:+.3g}" for weight in others)])
    method = explanation.whole.method or "amulet"
    return (
        f"{method}, guidance scale {strength_label(*explanation.strength)}{unless}: "
        f"{mixture} {'preferences' if len(others) == 1 else 'for each preference'}"
    )
