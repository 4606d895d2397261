"""The scores of the model itself, beside plain transformers on prompts made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation, TextScorer, evaluate
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.evaluations import QUESTIONS
from tests.support.tiny import tiny_model

CREATIVE = "Your answer should be creative as much as possible."


def log_probs(prompt, answer):
    """Of every token of an answer, by one forward pass of an unchanged model."""
    with torch.no_grad():
        logits = tiny_model()(torch.tensor([[*prompt, *answer]])).logits[0]
    rows = torch.log_softmax(logits.double(), dim=-1)[len(prompt) - 1 : -1]
    return [rows[place, token].item() for place, token in enumerate(answer)]


@pytest.fixture(scope="module")
def found(tiny_engine) -> Evaluation:
    return evaluate(
        tiny_engine, QUESTIONS, ["creative"], ["base", "pref", "amulet"], max_new_tokens=12
    )


def test_likelihoods_equal_those_of_plain_transformers(tiny_engine, found):
    prompts = PromptBuilder(tiny_engine.tokenizer)
    for one in found.answers:
        base, pref = (
            log_probs(context, one.token_ids)
            for context in prompts.contexts(
                [ChatMessage(role="user", content=one.question)], [None, CREATIVE]
            )
        )
        count = len(one.token_ids)
        expected = {
            "preference_ratio": pytest.approx((sum(pref) - sum(base)) / count, abs=1e-4),
            "fluency_nll": pytest.approx(-sum(base) / count, abs=1e-4),
            "pref_nll": pytest.approx(-sum(pref) / count, abs=1e-4),
            "broken": float(-sum(pref) / count > 1.6),
        }
        assert {name: one.scores[name] for name in expected} == expected


def test_amulet_raises_the_ratio_at_a_price(found):
    base, pref, amulet = (
        found.mean("preference_ratio", method=method) for method in ("base", "pref", "amulet")
    )
    assert base < pref < amulet
    assert found.mean("fluency_nll", method="amulet") > found.mean("fluency_nll", method="base")


def test_an_answer_without_tokens_is_broken_and_has_no_likelihood(tiny_engine):
    from amulet_integrations.evaluation.metrics.likelihoods import LikelihoodScorer
    from tests.unit.evaluation import made

    empty = made.answer(text="", token_ids=())
    assert LikelihoodScorer(tiny_engine, []).score([empty], {}) == [{"broken": 1.0}]


def test_the_scorer_declares_its_scores(found):
    from amulet_integrations.evaluation.metrics.likelihoods import LikelihoodScorer

    assert set(LikelihoodScorer.score_names) == found.answers[0].scores.keys()


class Length:
    """Counts characters, and remembers of what."""

    name = "length"

    def __init__(self, value=None):
        self.value, self.seen = value, []

    def score(self, answers, preferences):
        self.seen += [(one.key, preferences[one.preference].text) for one in answers]
        return [{"characters": self.value or len(one.text)} for one in answers]


class OwnWords:
    """Calls its score as one of this package's."""

    name = "own words"
    score_names = ("words",)

    def score(self, answers, preferences):
        return [{"words": 1.0} for _ in answers]


def run(tiny_engine, *scorers, **options):
    return evaluate(
        tiny_engine, QUESTIONS, ["creative"], ["base", "pref"],
        max_new_tokens=4, scorers=scorers, **options,
    )  # fmt: skip


def test_scores_of_other_scorers_are_added(tiny_engine):
    scorer = Length()
    found = run(tiny_engine, scorer)
    assert [one.scores["characters"] for one in found.answers] == [
        len(one.text) for one in found.answers
    ]
    assert scorer.seen == [(one.key, CREATIVE) for one in found.answers]
    own = ("preference_ratio", "fluency_nll", "pref_nll", "broken")
    assert found.score_names == (*own, "characters")
    lengths = [len(one.text) for one in found.answers if one.method == "base"]
    assert found.values("characters", method="base") == tuple(lengths)
    assert found.mean("characters", method="base") == sum(lengths) / 3
    assert found.mean("characters", method="none") is None


def test_what_was_measured_is_not_measured_again(tiny_engine, tmp_path):
    first = run(tiny_engine, Length(), output=tmp_path)
    again = Length()
    assert run(tiny_engine, again, output=tmp_path) == first
    assert again.seen == []
    # One more scorer may come later, and a file that was cut is filled up.
    path = tmp_path / "scores.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert run(tiny_engine, again, output=tmp_path) == first
    assert len(again.seen) == 1
    assert Evaluation.read(tmp_path) == first


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        ([Length(), Length()], "Two scorers are called 'length'"),
        ([TextScorer(), OwnWords()], "'text' and 'own words' both give a score 'words'"),
        ([Length(math.nan)], "gave characters=nan"),
    ],
)
def test_invalid_scorers_are_refused(tiny_engine, scorers, message):
    with pytest.raises(EvaluationError, match=message):
        run(tiny_engine, *scorers)


def test_a_scorer_that_leaves_answers_out(tiny_engine):
    scorer = Length()
    scorer.score = lambda answers, preferences: []
    with pytest.raises(EvaluationError, match="gave 0 scores for 6 answers"):
        run(tiny_engine, scorer)
