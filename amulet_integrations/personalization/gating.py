"""Which preferences have to do with a question: the scores that gates compare with a threshold."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.decoding.preference_gate import GateKind

from .question_scores import LONGEST_QUESTION, UNRELATED_QUESTIONS, QuestionScorer

KEPT = 4_096
"""Most preferences whose usual score is kept."""

STYLE_LOG_ODDS = 1.5
"""From so many nats on, a preference is about how answers are written."""

_DEADLINE = "while its gate looked at the question"


class UsualScores:
    """What the scores of preferences are for unrelated questions. May be used from any thread.

    They are computed once for each preference and model. No text is kept, only its digest.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._known: OrderedDict[str, float] = OrderedDict()

    def __reduce__(self) -> tuple[type[UsualScores], tuple[()]]:
        return UsualScores, ()

    def find(self, keys: Sequence[str], compute: Callable[[list[int]], list[float]]) -> list[float]:
        """The scores of keys.

        Args:
            keys: What the scores belong to.
            compute: f(places in `keys`) -> the scores of those that are not known.
        """
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
            for key in known:
                self._known.move_to_end(key)
        if places := [at for at, key in enumerate(keys) if key not in known]:
            # Without the lock: others may compute the same meanwhile, and find the same.
            found = {keys[at]: it for at, it in zip(places, compute(places), strict=True)}
            known |= found
            with self._lock:
                self._known |= found
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return [known[key] for key in keys]


def gate_scores(
    scorer: QuestionScorer,
    usual: UsualScores,
    kind: GateKind,
    question: str,
    preferences: Sequence[str],
    deadline: Deadline,
) -> list[float]:
    """The score of each preference for a question, which a gate compares with its threshold.

    A preference about how answers are written, such as "Be brief.", belongs into every answer: its
    score is infinite.

    Args:
        scorer: Asks the model.
        usual: What was found of the preferences before.
        kind: What the gate goes by.
        question: What the user wrote last; only its last 1,000 characters are looked at.
        preferences: The texts.
        deadline: Until when it may take.
    """
    question = question.strip()[-LONGEST_QUESTION:]
    scores = [math.inf] * len(preferences)
    topical = [at for at, it in enumerate(_style(scorer, usual, preferences, deadline)) if not it]
    texts = [preferences[at] for at in topical]
    if texts:
        deadline.check(_DEADLINE)
        found = _SCORES[kind](scorer, question, texts)
        expected = _expected(scorer, usual, kind, texts, deadline)
        for at, score, least in zip(topical, found, expected, strict=True):
            scores[at] = score - least
    return scores


def _style(
    scorer: QuestionScorer, usual: UsualScores, preferences: Sequence[str], deadline: Deadline
) -> list[bool]:
    """Whether each preference is about how answers are written."""

    def compute(places: Sequence[int]) -> list[float]:
        deadline.check(_DEADLINE)
        return [scorer.style_log_odds(preferences[at]) for at in places]

    keys = [_key(scorer, "style", text) for text in preferences]
    return [score >= STYLE_LOG_ODDS for score in usual.find(keys, compute)]


def _expected(
    scorer: QuestionScorer,
    usual: UsualScores,
    kind: GateKind,
    preferences: Sequence[str],
    deadline: Deadline,
) -> list[float]:
    """The mean scores for unrelated questions."""

    def compute(places: Sequence[int]) -> list[float]:
        texts = [preferences[at] for at in places]
        rows = []
        for question in UNRELATED_QUESTIONS:
            deadline.check(_DEADLINE)
            rows.append(_SCORES[kind](scorer, question, texts))
        return [sum(column) / len(column) for column in zip(*rows, strict=True)]

    return usual.find([_key(scorer, kind, text) for text in preferences], compute)


def _key(scorer: QuestionScorer, what: str, text: str) -> str:
    return sha256("\0".join([scorer.fingerprint, what, text]).encode()).hexdigest()


def _gains(scorer: QuestionScorer, question: str, preferences: Sequence[str]) -> list[float]:
    return scorer.likelihoods(question, preferences).gains


_SCORES: dict[GateKind, Callable[[QuestionScorer, str, Sequence[str]], list[float]]] = {
    "likelihood": _gains,
    "ask": QuestionScorer.yes_log_odds,
}
