"""The figures of an explanation in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from amulet_integrations.profiles import Preference

from .explained_tokens import ExplainedToken, ExplanationData
from .tints import shift_level
from .visible_text import flat, label

_MINUS = "\u2212"
_LONGEST_NAME = 40
_LARGEST_FACTOR = 1e6


def percentage(logprob: float) -> str:
    """A probability from its logarithm: "42.0%", "0.31%", "<0.01%"."""
    percent = 100.0 * math.exp(logprob)
    if percent >= 10.0:  # noqa: PLR2004 - look only
        return f"{percent:.1f}%"
    if percent >= 0.01:  # noqa: PLR2004 - look only
        return f"{percent:.2f}%"
    return "0%" if logprob == -math.inf else "<0.01%"


def nats(value: float, *, signed: bool = False) -> str:
    """Such as "1.25"; with a plus or a minus sign where it is signed."""
    number = "∞" if math.isinf(value) else f"{abs(value):.2f}"
    return f"{_sign(value)}{number}" if signed and number != "0.00" else number


def whole_nats(value: float) -> str:
    """A round number with its sign, such as "+4"; "0" has none."""
    return f"{_sign(value)}{abs(value):.0f}" if value else "0"


def likelier(shift: float) -> str:
    """What a shift means: "7.4 times likelier", "1.6 times less likely", "as likely"."""
    if shift == math.inf:
        return "impossible without them"
    if shift == -math.inf:
        return "impossible with them"
    factor = math.exp(min(abs(shift), math.log(_LARGEST_FACTOR)))
    if factor < 1.05:  # noqa: PLR2004 - look only
        return "as likely"
    if abs(shift) >= math.log(_LARGEST_FACTOR):
        times = "over a million times"
    else:
        times = f"{factor:.1f} times" if factor < 10.0 else f"{factor:,.0f} times"  # noqa: PLR2004
    return f"{times} {'likelier' if shift > 0 else 'less likely'}"


def strength(value: float) -> str:
    """A guidance scale, short: "3", "2.46"."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def strength_note(explanation: ExplanationData, token: ExplainedToken) -> str:
    """Why a token had another strength than the answer; "" where it had the same."""
    if token.is_bounded:
        return "held back by the bound"
    # Rounding of the weights is no other strength.
    if math.isclose(token.guidance_scale, explanation.guidance_scale, rel_tol=1e-6, abs_tol=1e-9):
        return ""
    return "this token is not amplified"


def preference_name(preference: Preference) -> str:
    """Its name, or the beginning of its text, on one line."""
    text = label(preference.name or preference.text)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def mover_name(explanation: ExplanationData, token: ExplainedToken) -> str:
    """The name of the preference that moved a token most; "" where none moved it visibly."""
    mover = explanation.moved_by(token) if shift_level(token.shift) else None
    return "" if mover is None else preference_name(explanation.preferences[mover])


def summary(explanation: ExplanationData) -> str:
    """What happened to the answer, in a sentence."""
    count = len(explanation.tokens)
    moved = sum(abs(token.shift) >= 1.0 for token in explanation.tokens)
    parts = [f"{count:,} {'token' if count == 1 else 'tokens'}"]
    parts.append(f"{moved:,} moved by 1 nat or more" if moved else "none moved by 1 nat or more")
    if explanation.max_kl is not None:
        parts.append(f"{explanation.bounded_tokens:,} held back by the bound")
    if left_out := len(explanation.left_out):
        parts.append(f"{left_out:,} {'preference' if left_out == 1 else 'preferences'} left out")
    return ", ".join(parts)


def surroundings(tokens: Sequence[ExplainedToken], at: int, width: int) -> tuple[str, str]:
    """The text before and after a token, on one line, `width` characters at most each."""
    before = "".join(token.text for token in tokens[max(0, at - width) : at])
    after = "".join(token.text for token in tokens[at + 1 : at + 1 + width])
    return flat(before)[-width:], flat(after)[:width]


def _sign(value: float) -> str:
    return _MINUS if value < 0.0 else "+"
