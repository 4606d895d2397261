"""Names and texts to preferences, and the published prompt around them."""

from __future__ import annotations

import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import (
    KNOWN_PREFERENCES,
    PAPER_PREFERENCES,
    SET_UPS,
    Preference,
    read_preferences,
)
from amulet_integrations.evaluation.data.set_ups import read_set_up
from amulet_integrations.prompting import ChatMessage
from tests.support.golden import golden, needs_golden
from tests.support.tiny import tiny_tokenizer


def test_one_may_come_alone():
    assert read_preferences("poet") == read_preferences(["poet"])
    (poet,) = read_preferences("poet")
    assert read_preferences(poet) == (poet,)


def test_the_published_preferences():
    assert PAPER_PREFERENCES == ("creative", "verbose", "concise", "uplifting")
    assert set(KNOWN_PREFERENCES) - set(PAPER_PREFERENCES) == {
        "sycophantic", "complex", "formal", "pleasant",
    }  # fmt: skip
    (creative,) = read_preferences(["creative"])
    assert creative.text == "Your answer should be creative as much as possible."


@needs_golden
def test_their_texts_are_those_of_the_published_code():
    texts = {one["preference_name"]: one["preference"] for one in golden("sequences.json")}
    assert texts.items() <= KNOWN_PREFERENCES.items()


def test_texts_are_named_by_themselves():
    named, bare, long, odd = read_preferences(
        ["poet=Answer as a poet.", "Use lists.", "Be kind. " * 20, "Say that x = 1."]
    )
    assert (named.name, named.text) == ("poet", "Answer as a poet.")
    assert (bare.name, bare.text) == ("Use lists.", "Use lists.")
    assert len(long.name) <= 40
    assert long.text == ("Be kind. " * 20).strip()
    assert odd.text == "Say that x = 1."


def test_a_preference_object_is_returned_as_it_is():
    own = Preference(name="mine", text="Rhyme.")
    assert read_preferences([own]) == (own,)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ([], "no preference"),
        ([" "], "blank"),
        (["poet="], "blank"),
        (["creativ"], "Did you mean 'creative'"),
        (["creative", "creative"], "Two preferences are called 'creative'"),
        (["a=x y", "a=z y"], "called 'a'"),
        (["\ud800 x"], "surrogate"),
    ],
)
def test_invalid_preferences_are_refused(preferences, message):
    with pytest.raises(EvaluationError, match=message):
        read_preferences(preferences)


def test_a_word_that_is_like_no_name_is_a_text():
    assert read_preferences(["Rhyme!"])[0].text == "Rhyme!"
    assert read_preferences(["creativ=creativ"])[0].text == "creativ"


def test_the_papers_set_up_puts_a_space_before_the_preference():
    paper = read_set_up("paper")
    assert paper.max_new_tokens == 128
    tokenizer = tiny_tokenizer()
    base, pref = (
        tokenizer.decode(ids)
        for ids in paper.prompts(tokenizer).contexts(
            [ChatMessage(role="user", content="Why?")], [None, "Be brief."]
        )
    )
    assert "user-friendly advice. <|im_end|>" in base
    assert pref == base.replace("advice. ", "advice. Be brief.")


def test_an_unknown_set_up_is_refused():
    with pytest.raises(EvaluationError, match="default, paper"):
        read_set_up("papr")


@needs_golden
@pytest.mark.model
def test_the_papers_set_up_is_the_published_one(embedded_engine):
    prompts = SET_UPS["paper"].prompts(embedded_engine.tokenizer)
    for one in golden("sequences.json"):
        messages = [ChatMessage(role="user", content=one["question"])]
        preference = KNOWN_PREFERENCES[one["preference_name"]]
        assert prompts.contexts(messages, [None, preference]) == [one["base_ids"], one["pref_ids"]]
