"""Evaluators of other packages give scores, and what is no score is an error."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import ScoreLine
from amulet_integrations.evaluation.metrics.builtin_scores import BUILTIN_SCORES
from amulet_integrations.evaluation.metrics.evaluators import evaluator_scorer
from amulet_integrations.evaluation.metrics.measuring import measure_all
from amulet_integrations.evaluation.runs.journal import Journal
from tests.unit.evaluation import made


def scores_of(evaluator, text="Blue.", **options):
    scorer = evaluator_scorer(evaluator, **options)
    (result,) = scorer.score([made.answer(text=text)], made.preferences())
    return result


class Evaluating:
    """An evaluator in LlamaIndex's manner, by a function of what it is given."""

    def __init__(self, function):
        self.evaluate = function


def test_a_function_is_given_what_it_asks_for():
    seen = []

    def polite(inputs, outputs, reference_outputs):
        seen.extend([inputs, outputs, reference_outputs])
        return True

    assert scores_of(polite) == {"polite": 1.0}
    assert seen == [
        {"question": "Question 0 of sea?", "preference": "Your answer should be creative."},
        {"answer": "Blue."},
        {},
    ]


def test_a_function_may_ask_for_less():
    assert scores_of(lambda outputs: len(outputs["answer"]), name="length") == {"length": 5.0}
    assert scores_of(lambda **given: len(given), name="given") == {"given": 3.0}


@pytest.mark.parametrize(
    ("result", "scores"),
    [
        (0.5, {"mine": 0.5}),
        (np.float32(0.5), {"mine": 0.5}),
        (np.bool_(1), {"mine": 1.0}),
        (3, {"mine": 3.0}),
        (False, {"mine": 0.0}),
        (None, {}),
        ({"key": "tone", "score": 0.25}, {"tone": 0.25}),
        ({"score": True}, {"mine": 1.0}),
        ({"key": "tone", "score": None, "comment": "?"}, {}),
        ([{"key": "a", "score": 1}, {"key": "b", "score": 2}], {"a": 1.0, "b": 2.0}),
        ({"results": [{"key": "a", "score": 1}]}, {"a": 1.0}),
        (SimpleNamespace(key="tone", score=2), {"tone": 2.0}),
        (SimpleNamespace(score=2), {"mine": 2.0}),
    ],
)
def test_results_of_all_forms_are_read_from_functions_and_objects(result, scores):
    assert scores_of(lambda outputs: result, name="mine") == scores
    assert scores_of(Evaluating(lambda query, response: result), name="mine") == scores


@pytest.mark.parametrize(
    ("result", "scores"),
    [
        ({"score": None, "passing": True}, {"mine": 1.0}),
        ({"score": 0.25, "passing": True}, {"mine": 0.25}),
        ({"passing": False}, {"mine": 0.0}),
        ({"score": None, "passing": None}, {}),
        ({"score": 0.25, "passing": True, "invalid_result": True}, {}),
    ],
)
def test_an_objects_score_goes_before_whether_the_answer_passes(result, scores):
    fields = SimpleNamespace(**result)
    assert scores_of(Evaluating(lambda query, response: fields), name="mine") == scores


@pytest.mark.parametrize(
    "result",
    [
        "good",
        {"key": "k", "score": "high"},
        {"key": "k", "value": "red"},
        {"tone": 0.5},
        float("nan"),
        [[object()]],
        10**400,
    ],
)
@pytest.mark.parametrize("wrapped", [lambda it: it, Evaluating], ids=["function", "object"])
def test_results_without_a_number_are_refused(result, wrapped):
    with pytest.raises(EvaluationError, match="'mine' gave"):
        scores_of(wrapped(lambda **given: result), name="mine")


def test_an_error_shows_what_was_given():
    with pytest.raises(EvaluationError, match=r"'mine' gave \{'tone': 0.5\}. A score is"):
        scores_of(lambda outputs: {"tone": 0.5}, name="mine")


@pytest.mark.parametrize("result", [[0.1, 0.2], [{"key": "mine", "score": 1}, 0.5]])
def test_two_scores_of_one_name_do_not_hide_one_another(result):
    with pytest.raises(EvaluationError, match="'mine' gives two scores called 'mine'"):
        scores_of(lambda outputs: result, name="mine")


async def polite(outputs):
    return 1


class Called:
    async def __call__(self, outputs):
        return 1


class Evaluates:
    async def evaluate(self, query, response):
        return 1


class OnlyLater:
    async def aevaluate(self, query, response):
        return 1


@pytest.mark.parametrize(
    ("evaluator", "name"),
    [
        (polite, "polite"),
        (functools.partial(polite), "partial"),
        (Called(), "called"),
        (Evaluates(), "evaluates"),
        (OnlyLater(), "only_later"),
    ],
)
def test_an_asynchronous_evaluator_is_refused_at_once(evaluator, name):
    with pytest.raises(EvaluationError, match=f"'{name}' is asynchronous"):
        evaluator_scorer(evaluator)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrapped", [lambda it: it, Evaluating], ids=["function", "object"])
def test_a_coroutine_is_no_score(wrapped):
    with pytest.raises(EvaluationError, match="'mine' gave <coroutine object polite"):
        scores_of(wrapped(lambda **given: polite(None)), name="mine")
    gc.collect()  # Python would warn now of a coroutine that was never awaited


def test_a_key_with_the_name_of_a_builtin_score_is_refused():
    with pytest.raises(EvaluationError, match=r"'preference_ratio'.*another name"):
        scores_of(lambda outputs: {"key": "preference_ratio", "score": 9}, name="mine")


@pytest.mark.parametrize("score", BUILTIN_SCORES)
def test_every_name_of_a_builtin_score_is_refused(score):
    with pytest.raises(EvaluationError, match=f"'{score}'.*another name"):
        scores_of(lambda outputs: 1, name=score)


def test_an_evaluator_that_needs_more_than_an_answer_is_refused_at_once():
    def of_run(run, example):
        return 1

    with pytest.raises(EvaluationError, match="asks for run, example") as error:
        evaluator_scorer(of_run)
    for taken in ('inputs ({"question", "preference"})', 'outputs ({"answer"})'):
        assert taken in str(error.value)
    for none in ("polite", Evaluating):
        with pytest.raises(EvaluationError, match="is no evaluator"):
            evaluator_scorer(none)


def test_an_evaluator_that_fails_is_named():
    def broken(outputs):
        raise KeyError("tone")

    for evaluator in (broken, Evaluating(lambda **given: broken(given))):
        scorer = evaluator_scorer(evaluator, name="broken")
        with pytest.raises(EvaluationError, match="'broken' failed: KeyError: 'tone'"):
            measure_all([scorer], [made.answer()], made.preferences(), Journal(None, ScoreLine))


def test_langsmiths_own_result_is_read():
    schemas = pytest.importorskip("langsmith.evaluation")
    result = schemas.EvaluationResult(key="tone", score=0.75)
    assert scores_of(lambda outputs: result) == {"tone": 0.75}


def test_a_llama_index_evaluator_judges_by_its_llm():
    evaluation = pytest.importorskip("llama_index.core.evaluation")
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

    prompts = []

    class Fake(CustomLLM):
        @property
        def metadata(self):
            return LLMMetadata()

        def complete(self, prompt, formatted=False, **kwargs):
            prompts.append(prompt)
            return CompletionResponse(text="4.5\nIt is fine.")

        def stream_complete(self, prompt, formatted=False, **kwargs):
            raise NotImplementedError

    evaluator = evaluation.CorrectnessEvaluator(llm=Fake())
    assert scores_of(evaluator) == {"correctness_evaluator": 4.5}
    assert "Question 0 of sea? Your answer should be creative." in prompts[0]
    assert "Blue." in prompts[0]


def test_a_llama_index_evaluator_may_only_pass():
    evaluation = pytest.importorskip("llama_index.core.evaluation")

    class Short(evaluation.BaseEvaluator):
        def _get_prompts(self):
            return {}

        def _update_prompts(self, prompts):
            pass

        async def aevaluate(self, query=None, response=None, contexts=None, **kwargs):
            invalid = response == ""
            return evaluation.EvaluationResult(passing=len(response) < 9, invalid_result=invalid)

    assert scores_of(Short()) == {"short": 1.0}
    assert scores_of(Short(), text="Much too long.") == {"short": 0.0}
    assert scores_of(Short(), text="") == {}


def test_neither_package_is_imported():
    code = (
        "import sys; sys.modules['langsmith'] = sys.modules['llama_index'] = None; "
        "from amulet_integrations.evaluation.metrics.evaluators import evaluator_scorer; "
        "print(evaluator_scorer(lambda outputs: 1).name)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "<lambda>"
