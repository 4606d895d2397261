"""The result of a sweep: what each strength made of the questions, and which one is recommended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.analysis.frontier import (
    DEFAULT_ALLOWANCE,
    Frontier,
    Limit,
    find_frontier,
)
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.data.methods import points_of, strength_of
from amulet_integrations.evaluation.data.record_types import Answer, MethodKind, group_by
from amulet_integrations.evaluation.reporting.result_tables import recommendation
from amulet_integrations.evaluation.runs.evaluation_result import Evaluation

from .swept_strengths import strength_labels

FEW_QUESTIONS = 10
"""A recommendation that rests on fewer questions says that they are few."""


@dataclass(frozen=True)
class StrengthPoint:
    """One strength of a sweep.

    Attributes:
        label: Its short name: base, pref, a preset's, or such as "p = 2.5".
        method: The name by which `amulet evaluate` knows it, such as "amulet@p=2.5,kl=0.1".
        kind: How it decodes: "base", "pref", "linear_alignment" or "amulet".
        strength: The guidance scale and the bound.
        answers: How many answers it has.
        scores: The mean of each score over the answers that have it, by the score's name.
        missed: The limits that it exceeds beside pref; empty for base and pref.
    """

    label: str
    method: str
    kind: MethodKind
    strength: Preset
    answers: int
    scores: dict[str, Estimate] = field(repr=False)
    missed: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class SweepData:
    """What a `Sweep` holds and says, under the same names."""

    evaluation: Evaluation = field(repr=False)
    allowance: float = DEFAULT_ALLOWANCE

    def __post_init__(self) -> None:
        if not self.evaluation.answers:
            raise EvaluationError("There is no answer to show. Let the run give some first.")
        _ = self.frontier  # refuses the allowance

    def __repr__(self) -> str:
        found = None if self.recommended is None else self.recommended.method
        strengths = ", ".join(point.method for point in self.strengths)
        return f"Sweep([{strengths}], questions={self.questions}, recommended={found!r})"

    @cached_property
    def frontier(self) -> Frontier | None:
        """What `amulet evaluate` recommends from; None without two strengths beside pref."""
        return find_frontier(
            self.evaluation.answers, self.evaluation.methods, allowance=self.allowance
        )

    @cached_property
    def strengths(self) -> tuple[StrengthPoint, ...]:
        """The strengths in the order of the evaluation's methods; beam search has none."""
        answers = group_by(self.evaluation.answers, lambda answer: answer.method)
        points = {} if self.frontier is None else {it.method: it for it in self.frontier.points}
        labels = strength_labels(self.evaluation.methods)
        found = []
        for method in self.evaluation.methods:
            strength = strength_of(method)
            if strength is None or method.name not in answers:
                continue
            scores = {
                score: mean
                for score in self.evaluation.score_names
                if (mean := mean_of(answers[method.name], score)) is not None
            }
            missed: tuple[Limit, ...] = ()
            if method.name in points:
                missed = tuple(cast("Frontier", self.frontier).missed(points[method.name]))
            found.append(
                StrengthPoint(
                    labels[method.name],
                    method.name,
                    method.kind,
                    strength,
                    len(answers[method.name]),
                    scores,
                    missed,
                )
            )
        return tuple(found)

    @property
    def recommended(self) -> StrengthPoint | None:
        """The strength that `amulet evaluate` would recommend; None if it would recommend none."""
        point = None if self.frontier is None else self.frontier.recommended
        if point is None:
            return None
        return next(one for one in self.strengths if one.method == point.method)

    @property
    def is_usable(self) -> bool:
        """Whether a strength is recommended that breaks no more answers than pref."""
        frontier = self.frontier
        point = None if frontier is None else frontier.recommended
        return frontier is not None and point is not None and not frontier.breaks(point)

    @property
    def questions(self) -> int:
        """How many questions were put."""
        return len({(answer.data_set, answer.index) for answer in self.evaluation.answers})

    @property
    def recommendation(self) -> str:
        """What is recommended and why, in words."""
        if self.frontier is not None:
            return recommendation(self.frontier)
        if len(points_of(self.evaluation.methods)) < 2:  # noqa: PLR2004 - one leaves no choice
            return "Nothing is recommended: it takes two strengths or more besides base and pref."
        return "Nothing is recommended: the strengths have no answers with tokens in common."

    @property
    def basis(self) -> str:
        """On how many answers the recommendation rests, in words; "" without one."""
        if self.frontier is None:
            return ""
        compared = self.frontier.reference.gain
        answers = "1 answer" if compared.values == 1 else f"{compared.values} answers"
        questions = "1 question" if compared.questions == 1 else f"{compared.questions} questions"
        text = f"It rests on {answers} at each strength, to {questions}"
        if compared.questions >= FEW_QUESTIONS:
            return f"{text}."
        return f"{text}: too few to rely on. Give more questions, as many as 20."

    def cases(self) -> list[list[Answer]]:
        """The answers to each question under each preference, by the order of the strengths."""
        shown = {point.method for point in self.strengths}
        answers = [it for it in self.evaluation.answers if it.method in shown]
        return [*group_by(answers, lambda it: it.prompt_key).values()]

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain JSON values, the private texts included."""
        recommended = self.recommended
        return {
            "model": self.evaluation.settings.model,
            "preferences": [
                {"name": it.name, "text": it.text} for it in self.evaluation.preferences
            ],
            "strengths": [_strength_dict(point) for point in self.strengths],
            "answers": [
                answer.model_dump(mode="json", exclude={"token_ids", "seconds"})
                for case in self.cases()
                for answer in case
            ],
            "recommended": None if recommended is None else recommended.method,
            "recommendation": self.recommendation,
            "basis": self.basis,
        }


def _strength_dict(point: StrengthPoint) -> dict[str, Any]:
    return {
        "label": point.label,
        "method": point.method,
        "guidance_scale": point.strength.guidance_scale,
        "max_kl": point.strength.max_kl,
        "scores": {name: mean.mean for name, mean in point.scores.items()},
        "past_limits": [limit.what for limit in point.missed],
    }
