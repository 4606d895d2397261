"""The rule that chooses, fixed before anything was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Figures(NamedTuple):
    """What a setting does beside the pref policy, on the same questions.

    Attributes:
        ratio: Mean of log P(token | pref) - log P(token | base), over answers and preferences.
        nll_rise: How much -log P(token | pref) is above the pref policy's.
        relevance_fall: How much the cosine of question and answer is below its, over the
            preferences about form.
        repetition_rise: How much larger the share of repeated word pairs is.
        broken: How many answers are broken.
        pref_broken: How many of the pref policy's are.
        answers: Of how many.
        right: How many facts are right.
        pref_right: How many of the pref policy's are.
        facts: Of how many.
    """

    ratio: float
    nll_rise: float
    relevance_fall: float
    repetition_rise: float
    broken: int
    pref_broken: int
    answers: int
    right: int
    pref_right: int
    facts: int


NLL_RISE = 0.10
RELEVANCE_FALL = 0.05
REPETITION_RISE = 0.03
FACTS_LOST = 3 / 60
_BROKEN_UNIT = 0.01  # none is allowed, so a miss is counted in hundredths of the answers
_ROUNDING = 1e-9


def misses(figures: Figures) -> dict[str, float]:
    """By how much a setting misses each condition, as a share of what that allows.

    More broken answers than the pref policy's are counted in hundredths of all answers.
    """
    lost = (figures.pref_right - figures.right) / max(1, figures.facts)
    over = {
        "nll": figures.nll_rise / NLL_RISE - 1.0,
        "relevance": figures.relevance_fall / RELEVANCE_FALL - 1.0,
        "repetition": figures.repetition_rise / REPETITION_RISE - 1.0,
        "broken": (figures.broken - figures.pref_broken) / figures.answers / _BROKEN_UNIT,
        "facts": lost / FACTS_LOST - 1.0,
    }
    return {name: miss for name, miss in over.items() if miss > _ROUNDING}


class Choice(NamedTuple):
    """The result of the rule.

    Attributes:
        name: The setting.
        misses: What it misses; empty where it passes.
    """

    name: str
    misses: dict[str, float]


def choose(settings: Mapping[str, Figures]) -> Choice:
    """The setting of the largest ratio that passes; or else the one with the least sum of misses.

    Args:
        settings: The figures of each by its name, one at least.
    """
    missed = {name: misses(figures) for name, figures in settings.items()}
    passing = [name for name in settings if not missed[name]]
    if passing:
        name = max(passing, key=lambda name: settings[name].ratio)
    else:
        name = min(settings, key=lambda name: sum(missed[name].values()))
    return Choice(name, missed[name])
