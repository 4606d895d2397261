"""Which preferences have to do with a question: the scores that gates compare with a threshold."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.decoding.preference_gate import GateKind
from amulet_integrations.engine.encoders.sentence_encoder import shared_encoder

from .question_scores import LONGEST_QUESTION, UNRELATED_QUESTIONS, QuestionScorer

KEPT = 4_096
"""Most preferences whose usual score is kept."""

STYLE_LOG_ODDS = 1.5
"""From so many nats on, a preference is about how answers are written."""


class UsualScores:
    """What the scores of preferences are for unrelated questions. May be used from any thread.

    They are computed once for each preference and model. No text is kept, only its digest.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._known: OrderedDict[str, float] = OrderedDict()

    def __reduce__(self) -> tuple[type[UsualScores], tuple[()]]:
        return UsualScores, ()

    def find(
        self, of: str, texts: Sequence[str], compute: Callable[[Sequence[str]], list[float]]
    ) -> list[float]:
        """The scores of texts.

        Args:
            of: What the scores are, and by which model.
            texts: The texts.
            compute: f(texts) -> the scores of those that are not known.
        """
        keys = {text: sha256(f"{of}\0{text}".encode()).hexdigest() for text in texts}
        with self._lock:
            known = {text: self._known[key] for text, key in keys.items() if key in self._known}
            for text in known:
                self._known.move_to_end(keys[text])
        if new := [text for text in keys if text not in known]:
            # Without the lock: others may compute the same meanwhile, and find the same.
            known.update(zip(new, compute(new), strict=True))
            with self._lock:
                self._known.update((keys[text], known[text]) for text in new)
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return [known[text] for text in texts]


@dataclass(frozen=True)
class QuestionGate:
    """Finds the scores of preferences for a question.

    A preference about how answers are written, such as "Be brief.", belongs into every answer: its
    score is infinite.

    Attributes:
        kind: What the scores are; see `PreferenceGate`.
        scorer: Asks the model.
        usual: What was found of preferences before.
        encoder: The sentence embedding for "similarity", as in `SentenceEncoder.from_pretrained`.
        deadline: Until when it may take.
    """

    kind: GateKind
    scorer: QuestionScorer
    usual: UsualScores
    encoder: str
    deadline: Deadline

    def scores(self, question: str, preferences: Sequence[str]) -> list[float]:
        """The score of each preference, which a gate compares with its threshold.

        Args:
            question: What the user wrote last; only its last 1,000 characters are looked at.
            preferences: The texts.

        Raises:
            RequestTimeoutError: The deadline has passed.
            GenerationError: The engine fails.
            ModelError: The sentence embedding cannot be loaded.
        """
        scores = [math.inf] * len(preferences)
        topical = [at for at, is_style in enumerate(self._style(preferences)) if not is_style]
        if texts := [preferences[at] for at in topical]:
            question = question.strip()[-LONGEST_QUESTION:]
            for at, score in zip(topical, self._topical_scores(question, texts), strict=True):
                scores[at] = score
        return scores

    def _topical_scores(self, question: str, preferences: Sequence[str]) -> list[float]:
        if self.kind == "similarity":
            self.deadline.check("while its gate looked at the question")
            asked, *others = shared_encoder(self.encoder).embed([question, *preferences])
            return [float(asked @ other) for other in others]
        found = self._raw_scores(question, preferences)
        usual = self._usual_scores(preferences)
        return [score - least for score, least in zip(found, usual, strict=True)]

    def _raw_scores(self, question: str, preferences: Sequence[str]) -> list[float]:
        self.deadline.check("while its gate looked at the question")
        if self.kind == "ask":
            return self.scorer.yes_log_odds(question, preferences)
        return self.scorer.likelihoods(question, preferences).gains

    def _usual_scores(self, preferences: Sequence[str]) -> list[float]:
        """The mean scores for unrelated questions."""

        def compute(texts: Sequence[str]) -> list[float]:
            rows = [self._raw_scores(question, texts) for question in UNRELATED_QUESTIONS]
            return [sum(column) / len(column) for column in zip(*rows, strict=True)]

        return self._known(self.kind, preferences, compute)

    def _style(self, preferences: Sequence[str]) -> list[bool]:
        """Whether each preference is about how answers are written."""

        def compute(texts: Sequence[str]) -> list[float]:
            self.deadline.check("while its gate looked at the preferences")
            return [self.scorer.style_log_odds(text) for text in texts]

        return [score >= STYLE_LOG_ODDS for score in self._known("style", preferences, compute)]

    def _known(
        self, what: str, texts: Sequence[str], compute: Callable[[Sequence[str]], list[float]]
    ) -> list[float]:
        return self.usual.find(f"{self.scorer.fingerprint}\0{what}", texts, compute)
