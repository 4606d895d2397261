"""The tokens and the legend of an explanation, as pages, notebooks and terminals show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .explained_tokens import ExplainedToken, ExplanationData
from .tints import SATURATION, shift_level
from .visible_text import NOTHING, Run, label, visible_runs
from .wording import (
    likelier,
    mover_name,
    nats,
    percentage,
    strength,
    strength_note,
    surroundings,
    whole_nats,
)

_AROUND = 14
"""Characters that are shown before and after a token that was moved."""


@dataclass(frozen=True, slots=True)
class LegendTick:
    """A number of the legend.

    Attributes:
        nats: The shift.
        words: What it means.
    """

    nats: str
    words: str


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token of the answer as the page shows it.

    Attributes:
        runs: Its text.
        level: Its tint.
        description: All of its figures in a sentence.
    """

    runs: tuple[Run, ...]
    level: int
    description: str


@dataclass(frozen=True, slots=True)
class MovedToken:
    """A row of the table of the tokens that were moved most.

    Attributes:
        token: The token.
        place: Its position, counted from 1.
        level: Its tint.
        label: Its text on one line.
        before: The text before it.
        after: The text after it.
        mover: The preference that moved it most.
    """

    token: ExplainedToken
    place: int
    level: int
    label: str
    before: str
    after: str
    mover: str


def show_token(explanation: ExplanationData, at: int) -> ShownToken:
    """A token of an explanation, by its position, as pages and notebooks show it."""
    token = explanation.tokens[at]
    runs = tuple(visible_runs(token.text)) or (Run("", NOTHING),)
    used, note = strength(token.guidance_scale), strength_note(explanation, token)
    mover = mover_name(explanation, token)
    base, pref, policy = (percentage(it.logprob) for it in (token.base, token.pref, token.policy))
    parts = [
        f"{label(token.text)}: {likelier(token.shift)} ({nats(token.shift, signed=True)} nats)",
        f"base {base}, pref {pref}, policy {policy}",
        f"strength {used}{f', {note}' if note else ''}",
        *([f"moved most by {mover}"] if mover else []),
    ]
    return ShownToken(runs, shift_level(token.shift), "; ".join(parts))


def most_moved(explanation: ExplanationData, count: int) -> list[MovedToken]:
    """The rows of the tokens that were moved most; tokens that were not moved are left out."""
    rows = []
    for at in explanation.most_moved(count):
        token = explanation.tokens[at]
        if token.shift:
            before, after = surroundings(explanation.tokens, at, _AROUND)
            level, mover = shift_level(token.shift), mover_name(explanation, token)
            rows.append(MovedToken(token, at + 1, level, label(token.text), before, after, mover))
    return rows


def legend() -> list[LegendTick]:
    """What the colours mean, from blue to orange."""
    ticks = []
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        shift = share * SATURATION
        end = "≤ " if share == -1.0 else "≥ " if share == 1.0 else ""
        times = f"{math.exp(abs(shift)):.0f} times {'more' if shift > 0.0 else 'less'}"
        ticks.append(LegendTick(f"{end}{whole_nats(shift)}", times if shift else "as likely"))
    return ticks
