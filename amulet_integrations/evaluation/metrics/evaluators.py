"""Makes scorers of evaluators written for LangSmith or LlamaIndex. It imports neither package."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import Answer, Preference, find_duplicate

from .builtin_scores import BUILTIN_SCORES
from .scorer import Scorer, finite_number

_Caller = Callable[[str, str, str], Any]  # of a question, a preference and an answer
_ARGUMENTS = ("inputs", "outputs", "reference_outputs")


def evaluator_scorer(evaluator: Any, *, name: str | None = None) -> Scorer:
    """Makes a scorer of an evaluator.

    Args:
        evaluator: A LangSmith evaluator: a function of `inputs` ({"question", "preference"}),
            `outputs` ({"answer"}) and `reference_outputs` ({}), or of some of them, that returns a
            number, a bool, {"key", "score"}, or several of those. Or a LlamaIndex evaluator: an
            object whose `evaluate(query=..., response=...)` returns a score or whether the
            response passes. Its query is the question, a space and the preference.
        name: The name of the scorer and of its score; by default the name of the evaluator. A
            result with a key has that key as its name.

    Raises:
        EvaluationError: The object is no evaluator, is asynchronous, or needs more than an answer.
    """
    label = name or _name_of(evaluator)
    evaluate: Any = getattr(evaluator, "evaluate", None)
    is_object = callable(evaluate)
    if _is_asynchronous(evaluate if is_object else evaluator):
        raise EvaluationError(
            f"The evaluator {label!r} is asynchronous, and nothing here would wait for it. Give a "
            "plain function, which may call asyncio.run."
        )
    if isinstance(evaluator, type) or not (is_object or callable(evaluator)):
        raise EvaluationError(
            f"{evaluator!r} is no evaluator. Give a function of inputs, outputs and "
            "reference_outputs, or an object with evaluate(query=..., response=...)."
        )
    if is_object:
        return _EvaluatorScorer(label, _object_caller(evaluate))
    return _EvaluatorScorer(label, _function_caller(evaluator, label))


class _EvaluatorScorer:
    """Calls an evaluator with the question, the preference and the answer, and reads its scores."""

    def __init__(self, name: str, evaluate: _Caller) -> None:
        self.name = name
        self._evaluate = evaluate

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        return [
            _read_result(
                self._evaluate(it.question, preferences[it.preference].text, it.text), self.name
            )
            for it in answers
        ]


def _function_caller(function: Callable[..., Any], name: str) -> _Caller:
    arguments = _argument_names(function, name)

    def call(question: str, preference: str, answer: str) -> Any:
        inputs = {"question": question, "preference": preference}
        given = {"inputs": inputs, "outputs": {"answer": answer}, "reference_outputs": {}}
        return function(**{argument: given[argument] for argument in arguments})

    return call


def _object_caller(evaluate: Callable[..., Any]) -> _Caller:
    def call(question: str, preference: str, answer: str) -> Any:
        """Returns the score, or whether the answer passes if the result has no score."""
        result = evaluate(query=f"{question} {preference}", response=answer)
        if getattr(result, "invalid_result", False):
            return None
        if getattr(result, "score", None) is None and hasattr(result, "passing"):
            return result.passing
        return result

    return call


def _is_asynchronous(evaluator: Any) -> bool:
    """Whether an evaluator has to be awaited, be it a function or an object."""
    if not callable(evaluator):
        return callable(getattr(evaluator, "aevaluate", None))
    call = getattr(evaluator, "__call__", None)  # noqa: B004 - it is known to be callable
    return inspect.iscoroutinefunction(evaluator) or inspect.iscoroutinefunction(call)


def _argument_names(function: Callable[..., Any], name: str) -> list[str]:
    """Returns which of the three arguments a function has, since LangSmith passes them by name."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(_ARGUMENTS)
    named = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    unknown = [p.name for p in named if p.name not in _ARGUMENTS and p.default is p.empty]
    if unknown or any(p.kind is p.POSITIONAL_ONLY for p in named):
        raise EvaluationError(
            f"The evaluator {name!r} asks for {', '.join(unknown) or 'arguments without names'}. "
            'Give one whose arguments are inputs ({"question", "preference"}), outputs '
            '({"answer"}) and reference_outputs ({}), or some of them, by these names.'
        )
    return [p.name for p in named if p.name in _ARGUMENTS]


def _read_result(result: Any, name: str) -> dict[str, float]:
    scores = list(_iter_scores(result, name))
    duplicate = find_duplicate(key for key, _ in scores)
    if duplicate is not None:
        raise EvaluationError(
            f"The evaluator {name!r} gives two scores called {duplicate!r}. Give each a key of its "
            'own: {"key": ..., "score": ...}.'
        )
    return dict(scores)


def _iter_scores(result: Any, name: str) -> Iterator[tuple[str, float]]:
    """Yields the scores in a result of any allowed form. Scores that are None are left out."""
    if isinstance(result, Mapping) and "results" in result:
        result = result["results"]
    if isinstance(result, list | tuple):
        for one in result:
            yield from _iter_scores(one, name)
        return
    if isinstance(result, Mapping):
        if "score" not in result:
            _refuse(result, name)
        key, value = result.get("key"), result["score"]
    else:
        key, value = getattr(result, "key", None), getattr(result, "score", result)
    if value is None:
        return
    number = finite_number(value, allow_bool=True)
    if number is None:
        _refuse(result, name)
    key = str(key or name)
    if key in BUILTIN_SCORES:
        raise EvaluationError(
            f"The evaluator {name!r} calls its score {key!r}, as one of this package's is called. "
            "Give it another name."
        )
    yield key, number


def _refuse(result: Any, name: str) -> NoReturn:
    if inspect.iscoroutine(result):
        result.close()  # otherwise Python warns that it was never awaited
    raise EvaluationError(
        f"The evaluator {name!r} gave {result!r}. A score is a finite number or a bool, by itself "
        'or as {"key": ..., "score": ...}, and None where it does not apply.'
    )


def _name_of(evaluator: Any) -> str:
    name = getattr(evaluator, "__name__", None) or type(evaluator).__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower()
