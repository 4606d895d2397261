"""What an evaluation is made of: checked when it is made, with errors of ours."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding.guidance import DEFAULT_LINEAR_ALIGNMENT_RATIO
from amulet_integrations.errors import EvaluationError, UnknownArgumentError
from amulet_integrations.evaluation import Method, Preference, Question
from amulet_integrations.evaluation.data.methods import guidance_scale, read_methods


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Question(data_set="a", index=0, text=" \n"), "text=.*blank"),
        (lambda: Question(data_set="", index=0, text="Why?"), "data_set=''.*blank"),
        (lambda: Question(data_set="a", index="x", text="Why?"), "index='x'"),
        (lambda: Question(data_set="a", index="3", text="Why?"), "index='3'"),
        (lambda: Question(data_set="a", index=True, text="Why?"), "index=True"),
        (lambda: Preference(name="kind", text="\u2003"), "text=.*blank"),
        (lambda: Preference(name="", text="Be kind."), "name=''.*blank"),
        (lambda: Preference(name="kind"), "text is missing"),
        (lambda: Method(name="x\ud800", kind="base"), "name=.*surrogate"),
        (lambda: Method(name="x", kind="best_of_n"), "kind='best_of_n'"),
        (lambda: Method(name="x", kind="beam_search", num_beams=0), "num_beams=0"),
        (lambda: Method(name="x", kind="linear_alignment", ratio=float("nan")), "ratio=nan"),
    ],
)
def test_invalid_records_are_refused(make, message):
    with pytest.raises(EvaluationError, match=message):
        make()


def test_a_misspelt_field_is_reported():
    with pytest.raises(UnknownArgumentError, match="did you mean 'ratio'"):
        Method(name="x", kind="linear_alignment", ration=1.0)


def test_a_method_may_come_alone():
    assert read_methods("amulet") == read_methods(["amulet"])
    (amulet,) = read_methods("amulet")
    assert read_methods(amulet) == (amulet,)


def test_a_method_made_by_hand_is_the_named_one():
    assert read_methods(["linear_alignment"]) == (
        Method(name="linear_alignment", kind="linear_alignment"),
    )
    by_hand = Method(name="mine", kind="linear_alignment")
    assert guidance_scale(by_hand) == 1.0 + DEFAULT_LINEAR_ALIGNMENT_RATIO
