"""An explained profile in words: which preferences hold, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator

from amulet_integrations.cli.options import strength_label
from amulet_integrations.cli.terminal import quoted_if_odd, short_number
from amulet_integrations.profiles.active import Verdict
from amulet_integrations.profiles.profile_explanation import ProfileExplanation

from .profile_text import format_time, preference_lines


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
