"""Evaluators written for LangSmith or LlamaIndex, as scorers. Neither package is needed here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.metrics.builtin_scores import OWN_NAMES
from amulet_integrations.evaluation.metrics.scorer import Scorer, finite_number
from amulet_integrations.evaluation.runs.names import repeated
from amulet_integrations.evaluation.runs.records import Answer, Preference

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
        EvaluationError: It is neither, it is asynchronous, or it needs more than an answer.
    """
    called = name or _name_of(evaluator)
    asked: Any = getattr(evaluator, "evaluate", None)
    is_object = callable(asked)
    if _is_asynchronous(asked if is_object else evaluator):
        raise EvaluationError(
            f"The evaluator {called!r} is asynchronous, and nothing here would wait for it. Give a "
            "plain function, which may call asyncio.run."
        )
    if isinstance(evaluator, type) or not (is_object or callable(evaluator)):
        raise EvaluationError(
            f"{evaluator!r} is no evaluator. Give a function of inputs, outputs and "
            "reference_outputs, or an object with evaluate(query=..., response=...)."
        )
    return _ObjectScorer(asked, called) if is_object else _FunctionScorer(evaluator, called)


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
            said = self._function(**{name: given[name] for name in self._arguments})
            scores.append(_scores_of(said, self.name))
        return scores


class _ObjectScorer:
    """A scorer by the method of an evaluator in LlamaIndex's manner."""

    def __init__(self, evaluate: Callable[..., Any], name: str) -> None:
        self.name = name
        self._evaluate = evaluate

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        scores = []
        for answer in answers:
            query = f"{answer.question} {preferences[answer.preference].text}"
            said = self._evaluate(query=query, response=answer.text)
            scores.append(_scores_of(_counting(said), self.name))
        return scores


def _is_asynchronous(evaluator: Any) -> bool:
    """Whether it has to be awaited, as a function or as an object that is called as one."""
    if not callable(evaluator):
        return callable(getattr(evaluator, "aevaluate", None))
    called = getattr(evaluator, "__call__", None)  # noqa: B004 - whether it can be called is known
    return inspect.iscoroutinefunction(evaluator) or inspect.iscoroutinefunction(called)


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
            'Give one whose arguments are inputs ({"question", "preference"}), outputs '
            '({"answer"}) and reference_outputs ({}), or some of them, by these names.'
        )
    return [p.name for p in named if p.name in _GIVEN]


def _counting(said: Any) -> Any:
    """What counts of LlamaIndex's results: the score, or whether the answer passes."""
    if getattr(said, "invalid_result", False):
        return None
    if getattr(said, "score", None) is None and hasattr(said, "passing"):
        return said.passing
    return said


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
        if "score" not in said:
            _refuse(said, name)
        key, value = said.get("key"), said["score"]
    else:
        key, value = getattr(said, "key", None), getattr(said, "score", said)
    if value is None:
        return
    number = finite_number(value, or_truth=True)
    if number is None:
        _refuse(said, name)
    key = str(key or name)
    if key in OWN_NAMES:
        raise EvaluationError(
            f"The evaluator {name!r} calls its score {key!r}, as one of this package's is called. "
            "Give it another name."
        )
    yield key, number


def _refuse(said: Any, name: str) -> NoReturn:
    if inspect.iscoroutine(said):
        said.close()  # nobody awaits it, and Python would warn of that
    raise EvaluationError(
        f"The evaluator {name!r} says {said!r}. A score is a finite number or a bool, by itself or "
        'as {"key": ..., "score": ...}, and None where it does not apply.'
    )


def _name_of(evaluator: Any) -> str:
    own = getattr(evaluator, "__name__", None) or type(evaluator).__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(own)).lower()
