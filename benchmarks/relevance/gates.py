"""Gates as they would have decided: their scores of pairs, and answers behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from amulet_integrations.personalization.preference_style import STYLE_LOG_ODDS
from benchmarks.defaults.settings import BASE, PREF, Setting
from benchmarks.defaults.study import RecordedAnswer
from benchmarks.relevance.neutral import POOL
from benchmarks.relevance.parts import SETTINGS
from benchmarks.relevance.preferences import PREFERENCES
from benchmarks.relevance.signals import Signals

_FIRST_TOKENS = 8

Key = tuple[str, str]
"""A question and the name of a preference."""


class Pair(NamedTuple):
    """A question under a preference, with the answers of every setting.

    Attributes:
        asked: The question.
        preference: The preference's name.
        answers: By setting: base, pref, the default and the strong one.
        scores: What each kind of gate goes by.
    """

    asked: str
    preference: str
    answers: Mapping[Setting, RecordedAnswer]
    scores: Mapping[str, float]

    @property
    def is_neutral(self) -> bool:
        """Whether the question has nothing to do with any preference."""
        return self.asked in POOL

    @property
    def belongs(self) -> bool:
        """Whether the preference belongs into the answer."""
        return PREFERENCES[self.preference].is_style or not self.is_neutral

    @property
    def half(self) -> int:
        """To which half it belongs."""
        return PREFERENCES[self.preference].half

    def is_right(self, setting: Setting) -> bool:
        """Whether the answer to a neutral question holds what it should."""
        return POOL[self.asked].is_right(self.answers[setting].text)

    def is_followed(self, setting: Setting) -> bool:
        """Whether an answer follows the preference."""
        answer = self.answers[setting]
        return PREFERENCES[self.preference].is_followed(answer.text, ended=answer.ended)


class StudiedGate(NamedTuple):
    """A gate.

    Attributes:
        kind: What it goes by.
        threshold: The least score of a preference that acts.
        closed: How it answers where it is closed: base, or pref.
    """

    kind: str
    threshold: float
    closed: Setting = BASE

    def setting(self, pair: Pair, setting: Setting) -> Setting:
        """The setting whose answer it lets through."""
        return setting if pair.scores.get(self.kind, 0.0) >= self.threshold else self.closed


OPEN = StudiedGate("none", -math.inf)
"""No gate."""


def pairs_of(
    answers: Iterable[RecordedAnswer],
    signals: Iterable[Signals],
    cosines: Mapping[Key, float],
) -> list[Pair]:
    """The pairs that every setting has answered.

    Those of which there are no signals have no scores of the kinds that need them.
    """
    by_pair: dict[Key, dict[Setting, RecordedAnswer]] = {}
    base: dict[str, RecordedAnswer] = {}
    usual: dict[str, list[RecordedAnswer]] = {}
    for answer in answers:
        if answer.setting == BASE.name:
            base[answer.asked] = answer
        elif answer.set_ == "calibration":
            usual.setdefault(answer.preference, []).append(answer)
        else:
            of_pair = by_pair.setdefault((answer.asked, answer.preference), {})
            of_pair[Setting.read(answer.setting)] = answer
    seen = {line.key: line for line in signals}
    scores = _Scores(seen, usual, cosines)
    return [
        Pair(asked, name, {**found, BASE: base[asked]}, scores.of((asked, name), found[PREF]))
        for (asked, name), found in by_pair.items()
        if found.keys() >= set(SETTINGS)
    ]


class _Scores:
    """What each kind of gate goes by.

    Args:
        seen: The signals by question and preference.
        usual: The answers to unrelated questions by preference.
        cosines: Of question and preference.
    """

    def __init__(
        self,
        seen: Mapping[Key, Signals],
        usual: Mapping[str, Sequence[RecordedAnswer]],
        cosines: Mapping[Key, float],
    ) -> None:
        self._seen = seen
        self._cosines = cosines
        unrelated = {answer.asked for of_one in usual.values() for answer in of_one}
        self._usual = {
            name: {
                "likelihood": fmean(seen[asked, name].likelihood for asked in unrelated),
                "ask": fmean(seen[asked, name].yes for asked in unrelated),
                "first token": fmean(it.moved[0] for it in usual[name]),
                "first tokens": fmean(_moved(it) for it in usual[name]),
            }
            for name in PREFERENCES
        }

    def of(self, key: Key, pref: RecordedAnswer) -> dict[str, float]:
        """The scores of a pair, by the names of the kinds.

        Args:
            key: The pair.
            pref: What the pref policy answers.
        """
        return dict(self._named(key, pref))

    def _named(self, key: Key, pref: RecordedAnswer) -> Iterator[tuple[str, float]]:
        seen, usual = self._seen.get(key), self._usual[key[1]]
        style = self._seen["", key[1]].style >= STYLE_LOG_ODDS
        raw = {
            "similarity": self._cosines.get(key, 0.0),
            "first token": pref.moved[0] / usual["first token"],
            "first tokens": _moved(pref) / usual["first tokens"],
        }
        if seen is not None:
            raw["likelihood"] = seen.likelihood - usual["likelihood"]
            raw["ask"] = seen.yes - usual["ask"]
            raw["ask, as it is"] = seen.yes
        for kind, score in raw.items():
            yield kind, score
            yield f"{kind}, style exempt", math.inf if style else score
        yield "known topics", math.inf if key[0] not in POOL else -math.inf
        own = PREFERENCES[key[1]]
        belongs = own.is_style or key[0] not in POOL
        yield "perfect", math.inf if belongs else -math.inf


def _moved(answer: RecordedAnswer) -> float:
    """How far pref moves the policy over the first tokens of its answer, in nats a token."""
    return fmean(answer.moved[:_FIRST_TOKENS])
