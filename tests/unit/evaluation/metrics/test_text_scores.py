"""Words are counted as a person would count them."""

from __future__ import annotations

import random
import sys
from importlib.metadata import version

import pytest

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.metrics.text_scores import (
    SentimentScorer,
    TextScorer,
    distinct,
    lexical_variety,
    repetition,
    text_scores,
)
from tests.unit.evaluation import made


def test_words_are_runs_of_letters_with_apostrophes_and_hyphens_inside():
    assert text_scores("It's a well-known fact — don\u2019t you think? 42!")["words"] == 8
    assert text_scores("")["words"] == 0


def test_distinct_is_the_share_of_different_runs():
    words = ["a", "b", "a", "b", "c"]
    assert distinct(words, 1) == 3 / 5
    assert distinct(words, 2) == 3 / 4  # ab ba ab bc
    assert distinct(words, 6) is None


def test_case_does_not_make_words_different():
    assert text_scores("Sea sea SEA")["distinct_1"] == pytest.approx(1 / 3)


def test_repetition_is_the_share_of_runs_that_stood_before():
    assert repetition(["a", "b", "c", "d", "e", "f", "g"]) == 0
    assert repetition(["a", "b", "c", "d", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repetition(["a"] * 10) == pytest.approx(6 / 7)
    assert repetition(["a", "b", "c"]) is None


def test_lexical_variety_is_the_mean_over_windows():
    words = ["a", "b", "a", "c"]
    by_hand = (2 + 2 + 2) / (3 * 2)
    assert lexical_variety(words, window=2) == by_hand
    assert lexical_variety(["a", "b", "a", "a"], window=3) == (2 + 2) / (2 * 3)
    assert lexical_variety(words, window=5) is None


def test_lexical_variety_does_not_fall_with_length_where_distinct_does():
    drawn = random.Random(0)
    vocabulary = [f"w{number}" for number in range(60)]
    short, long = (drawn.choices(vocabulary, k=size) for size in (40, 4000))
    assert distinct(long, 1) < 0.1 < distinct(short, 1)
    assert lexical_variety(long) == pytest.approx(lexical_variety(short), abs=0.1)


def test_scores_that_do_not_apply_are_left_out():
    assert text_scores("") == {"words": 0.0}
    assert text_scores("one two three").keys() == {"words", "distinct_1", "distinct_2"}


def test_the_scorer_measures_each_answer():
    answers = [made.answer(text="a b"), made.answer(text="")]
    assert [scores["words"] for scores in TextScorer().score(answers, {})] == [2, 0]


def test_sentiment_knows_pleasant_words():
    pytest.importorskip("vaderSentiment")
    answers = [made.answer(text=text) for text in ("A wonderful, happy day!", "Awful pain.", " ")]
    good, bad, blank = SentimentScorer().score(answers, {})
    assert good["sentiment"] > 0.5
    assert bad["sentiment"] < -0.5
    assert blank == {}


def test_the_lexicons_version_is_in_the_scorers_name():
    pytest.importorskip("vaderSentiment")
    assert SentimentScorer().name == f"vader {version('vaderSentiment')}"


def test_scorers_declare_their_scores():
    pytest.importorskip("vaderSentiment")
    whole = [made.answer(text="A wonderful day. " * 20)]
    for scorer in (TextScorer(), SentimentScorer()):
        (scores,) = scorer.score(whole, {})
        assert scores.keys() == set(scorer.score_names)


def test_sentiment_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vaderSentiment", None)
    monkeypatch.delitem(sys.modules, "vaderSentiment.vaderSentiment", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[evaluation\]"):
        SentimentScorer()
