"""Evaluators written for LangSmith or LlamaIndex, as scorers. Neither package is needed here."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.names import repeated
from amulet_integrations.evaluation.records import Answer, Preference
from amulet_integrations.evaluation.score_notes import OWN_SCORES
from amulet_integrations.evaluation.scorer import Scorer

_GIVEN = ("inputs", "outputs", "reference_outputs")


def evaluator_scorer(evaluator: Any, *, name: str | None = None) -> Scorer:
    """Makes a scorer of an evaluator.

    Args:
        evaluator: A LangSmith evaluator: a function of `inputs` ({"question", "preference"}),
            `outputs` ({"answer"}) and `reference_outputs` ({}), or of some of them, that returns a
            number, a bool, {"key", "score"}, or several of those. Or a LlamaIndex evaluator,
            an object whose `evaluate(query=..., response=...)` returns a score or whether the
            response passes; its query is the question, a space and the preference.
        name: What the scorer and its score are called; by default as the evaluator is. A score
            that brings a key of its own is called by that.

    Raises:
        EvaluationError: It is neither, or it needs more than an answer.
    """
    called = name or _name_of(evaluator)
    if callable(getattr(evaluator, "evaluate", None)):
        return _LlamaIndexScorer(evaluator, called)
    if not callable(evaluator):
        raise EvaluationError(
            f"{evaluator!r} is no evaluator. Give a function of inputs, outputs and "
            "reference_outputs, or an object with evaluate(query=..., response=...)."
        )
    if inspect.iscoroutinefunction(evaluator):
        raise EvaluationError(
            f"The evaluator {called!r} is asynchronous, and nothing here would wait for it. Give a "
            "plain function, which may call asyncio.run."
        )
    return _FunctionScorer(evaluator, called)


class _FunctionScorer:
    """A scorer by a function in LangSmith's manner."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        self._function = function
        self._arguments = _arguments(function, name)

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        scores = []
        for answer in answers:
            given = {
                "inputs": {
                    "question": answer.question,
                    "preference": preferences[answer.preference].text,
                },
                "outputs": {"answer": answer.text},
                "reference_outputs": {},
            }
            chosen = {name: given[name] for name in self._arguments}
            said = _called(self.name, self._function, **chosen)
            scores.append(_scores_of(said, self.name))
        return scores


class _LlamaIndexScorer:
    """A scorer by an evaluator in LlamaIndex's manner."""

    def __init__(self, evaluator: Any, name: str) -> None:
        self.name = name
        self._evaluator = evaluator

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        scores = []
        for answer in answers:
            query = f"{answer.question} {preferences[answer.preference].text}"
            result = _called(self.name, self._evaluator.evaluate, query=query, response=answer.text)
            said = getattr(result, "score", None)
            if said is None:
                said = getattr(result, "passing", None)
            if getattr(result, "invalid_result", False):
                said = None
            scores.append(_scores_of(said, self.name))
        return scores


def _arguments(function: Callable[..., Any], name: str) -> list[str]:
    """Which of the three a function asks for, as LangSmith gives them: by their names."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(_GIVEN)
    named = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    unknown = [p.name for p in named if p.name not in _GIVEN and p.default is p.empty]
    if unknown or any(p.kind is p.POSITIONAL_ONLY for p in named):
        raise EvaluationError(
            f"The evaluator {name!r} asks for {', '.join(unknown) or 'arguments without names'}. "
            f"Give one that asks for {', '.join(_GIVEN)}, or for some of them."
        )
    return [p.name for p in named if p.name in _GIVEN]


def _called(_name: str, _evaluator: Callable[..., Any], **given: Any) -> Any:
    try:
        return _evaluator(**given)
    except Exception as error:  # evaluators are somebody else's code
        raise EvaluationError(
            f"The evaluator {_name!r} failed: {' '.join(str(error).split())}"
        ) from error


def _scores_of(said: Any, name: str) -> dict[str, float]:
    scores = list(_scores_in(said, name))
    twice = repeated(key for key, _ in scores)
    if twice is not None:
        raise EvaluationError(
            f"The evaluator {name!r} gives two scores called {twice!r}. Give each a key of its "
            'own: {"key": ..., "score": ...}.'
        )
    return dict(scores)


def _scores_in(said: Any, name: str) -> Iterator[tuple[str, float]]:
    """The scores in whatever an evaluator may return; those that say None are left out."""
    if isinstance(said, Mapping) and "results" in said:
        said = said["results"]
    if isinstance(said, list | tuple):
        for one in said:
            yield from _scores_in(one, name)
        return
    if isinstance(said, Mapping):
        key, value = said.get("key"), said.get("score")
    else:
        key, value = getattr(said, "key", None), getattr(said, "score", said)
    if value is None:
        return
    key = str(key or name)
    try:
        number = float(value) if not isinstance(value, str) else math.nan
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EvaluationError(
            f"The evaluator {name!r} says {value!r} for {key!r}. A score is a finite number or a "
            "bool, and None where it does not apply."
        )
    if key in OWN_SCORES:
        raise EvaluationError(
            f"The evaluator {name!r} calls its score {key!r}, as one of this package's is called. "
            "Give it another name."
        )
    yield key, number


def _name_of(evaluator: Any) -> str:
    own = getattr(evaluator, "__name__", None) or type(evaluator).__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(own)).lower()
