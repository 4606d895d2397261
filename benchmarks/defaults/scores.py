"""From answers to scores, and to the figures that the rule looks at."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from amulet_integrations.evaluation.analysis.statistics import Estimate, estimate
from amulet_integrations.evaluation.metrics.text_scores import distinct
from benchmarks.defaults.facts import is_right
from benchmarks.defaults.questions import ABOUT_FORM
from benchmarks.defaults.rule import Figures
from benchmarks.defaults.study import RecordedAnswer

BROKEN_NLL = 1.6
"""Nats a token under the pref context past which an answer is called broken."""

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_BATCH = 32

Cell = tuple[str, str]
"""A question's key and a preference's name."""


class Score:
    """The scores of one answer.

    Args:
        answer: The answer.
        relevance: The cosine of it and its question; 0 where it is empty.

    Attributes:
        ratio: Mean log P(token | pref) - log P(token | base); None for an empty answer.
        pref_nll: Mean -log P(token | pref); None for an empty answer.
        fluency_nll: Mean -log P(token | base); None for an empty answer.
        words: How many words it has.
        repetition: The share of its word pairs that it holds already.
        broken: Whether it is empty, or above 1.6 nats a token under the pref context.
    """

    def __init__(self, answer: RecordedAnswer, relevance: float) -> None:
        self.answer = answer
        self.relevance = relevance
        tokens = len(answer.pref)
        self.tokens = float(tokens)
        self.pref_nll = -float(np.mean(answer.pref)) if tokens else None
        self.fluency_nll = -float(np.mean(answer.base)) if tokens else None
        self.ratio = float(np.mean(np.subtract(answer.pref, answer.base))) if tokens else None
        words = _WORD.findall(answer.text.casefold())
        self.words = float(len(words))
        pairs = distinct(words, 2)
        self.repetition = 0.0 if pairs is None else 1.0 - pairs
        self.broken = self.pref_nll is None or self.pref_nll > BROKEN_NLL


class Scored:
    """What one setting answered to questions and facts.

    Args:
        scores: Of its answers to questions.
        facts: Its answers to facts.
    """

    def __init__(self, scores: Iterable[Score], facts: Iterable[RecordedAnswer]) -> None:
        self.cells: dict[Cell, Score] = {
            (score.answer.asked, score.answer.preference): score for score in scores
        }
        self.facts = {(answer.asked, answer.preference): answer for answer in facts}

    def on(self, cells: Iterable[Cell], facts: Iterable[Cell]) -> Scored:
        """The same for some questions and facts."""
        return Scored([self.cells[cell] for cell in cells], [self.facts[cell] for cell in facts])

    @cached_property
    def right(self) -> int:
        """How many facts are right."""
        return sum(is_right(answer.asked, answer.text) for answer in self.facts.values())

    @property
    def broken(self) -> int:
        """How many answers are broken."""
        return sum(score.broken for score in self.cells.values())

    def mean(self, name: str, preferences: Sequence[str] | None = None) -> Estimate | None:
        """The mean of a score with its interval; questions are drawn again."""
        values = {
            cell: getattr(score, name)
            for cell, score in self.cells.items()
            if preferences is None or cell[1] in preferences
        }
        return _estimate(values)

    def above(
        self, other: Scored, name: str, preferences: Sequence[str] | None = None
    ) -> Estimate | None:
        """How much higher a score is than another setting's, paired answer by answer."""
        values = {}
        for cell, score in self.cells.items():
            one, two = getattr(score, name), getattr(other.cells[cell], name)
            if (preferences is None or cell[1] in preferences) and None not in (one, two):
                values[cell] = one - two
        return _estimate(values)

    def figures(self, pref: Scored) -> Figures:
        """What the rule looks at, beside the pref policy on the same questions."""
        return Figures(
            ratio=_mean(self.mean("ratio")),
            nll_rise=_mean(self.above(pref, "pref_nll")),
            relevance_fall=-_mean(self.above(pref, "relevance", ABOUT_FORM)),
            repetition_rise=_mean(self.above(pref, "repetition")),
            broken=self.broken,
            pref_broken=pref.broken,
            answers=len(self.cells),
            right=self.right,
            pref_right=pref.right,
            facts=len(self.facts),
        )


def _mean(found: Estimate | None) -> float:
    return float("nan") if found is None else found.mean


def _estimate(values: Mapping[Cell, float | None]) -> Estimate | None:
    sets: dict[str, dict[Hashable, list[float]]] = {}
    for (asked, _), value in values.items():
        if value is not None:
            of_set = sets.setdefault(asked.split("/")[0], {})
            of_set.setdefault(asked, []).append(value)
    return estimate(sets.values())


class Relevance:
    """The cosine of question and answer by MiniLM, which no setting sees; kept in a file.

    Args:
        path: The file.
        questions: Texts of the questions by their keys.
    """

    def __init__(self, path: Path, questions: Mapping[str, str]) -> None:
        self._path = path
        self._questions = questions
        self._known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def score(self, answers: Iterable[RecordedAnswer]) -> list[Score]:
        """The scores of answers to questions."""
        answers = list(answers)
        new = {
            _name(answer): answer
            for answer in answers
            if answer.text.strip() and _name(answer) not in self._known
        }
        if new:
            self._embed(new)
            self._path.write_text(json.dumps(self._known))
        return [Score(answer, self._known.get(_name(answer), 0.0)) for answer in answers]

    def _embed(self, new: Mapping[str, RecordedAnswer]) -> None:
        from cookbook.minilm import MiniLM  # noqa: PLC0415 - loads a model

        model = MiniLM(embed_batch_size=_BATCH)
        asked = sorted({answer.asked for answer in new.values()})
        texts = [self._questions[key] for key in asked]
        of_question = dict(zip(asked, model.get_text_embedding_batch(texts), strict=True))
        names = sorted(new, key=lambda name: len(new[name].text))
        found = model.get_text_embedding_batch([new[name].text for name in names])
        for name, vector in zip(names, found, strict=True):
            cosine = float(np.dot(vector, of_question[new[name].asked]))
            self._known[name] = round(cosine, 5)


def _name(answer: RecordedAnswer) -> str:
    return sha256(f"{answer.asked}\n{answer.text}".encode()).hexdigest()[:24]
