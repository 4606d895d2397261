"""The figures of an explanation in words, and which preference moved a token."""

from __future__ import annotations

import json
import math
import re

import pytest

from amulet_integrations.explanation.shift_plot import draw_shifts
from amulet_integrations.explanation.wording import (
    likelier,
    nats,
    percentage,
    preference_name,
    strength_note,
    summary,
)
from amulet_integrations.profiles import Preference
from tests.unit.explanation import made

MINUS = "\u2212"


@pytest.mark.parametrize(
    ("shift", "pushes", "weights", "mover"),
    [
        (1.0, (0.5, 2.0), (1.0, 1.0), 1),
        (-1.0, (0.5, -2.0), (1.0, 1.0), 1),
        (-1.0, (2.0, -0.1), (-1.0, 1.0), 0),  # steered away from
        (1.0, (2.0, 0.5), (0.1, 1.0), 1),
        (1.0, (-1.0, -2.0), (1.0, 1.0), None),  # neither: both together did
        (0.0, (1.0, 2.0), (1.0, 1.0), None),
        (1.0, (), (1.0, 1.0), None),  # not computed
        (1.0, (2.0,), (1.0,), None),  # nothing to compare with
        (math.inf, (math.inf, 1.0), (1.0, 1.0), 0),
    ],
)
def test_which_preference_moved_a_token(shift, pushes, weights, mover):
    preferences = tuple(Preference(text="Be brief.", weight=weight) for weight in weights)
    token = made.token("tea", shift=shift, preference_shifts=pushes)
    assert made.explanation(token, preferences=preferences).moved_by(token) == mover


@pytest.mark.parametrize(
    ("scale", "fraction", "note"),
    [
        *((2.0, 1.0, ""), (2.0 - 1e-12, 1.0, ""), (1.5, 0.5, "held back by the bound")),
        (0.0, None, "this token is not amplified"),
        (1.0, None, "this token is not amplified"),  # by design: JSON, say
        (1.0, 0.0, "held back by the bound"),
    ],
)
def test_why_a_token_had_another_strength(scale, fraction, note):
    token = made.token("tea", guidance_scale=scale, guidance_fraction=fraction)
    assert strength_note(made.explanation(token, max_kl=0.1), token) == note


@pytest.mark.parametrize(
    ("logprob", "text"),
    [
        *((0.0, "100.0%"), (math.log(0.42), "42.0%"), (math.log(0.0031), "0.31%")),
        *((math.log(1e-5), "<0.01%"), (-math.inf, "0%"), (-9999.0, "<0.01%")),
    ],
)
def test_percentages(logprob, text):
    assert percentage(logprob) == text


@pytest.mark.parametrize(
    ("shift", "words", "signed"),
    [
        (0.0, "as likely", "0.00"),
        (-0.001, "as likely", "0.00"),
        (math.log(7.4), "7.4 times likelier", "+2.00"),
        (-math.log(55), "55 times less likely", f"{MINUS}4.01"),
        (30.0, "over a million times likelier", "+30.00"),
        (math.inf, "impossible without them", "+∞"),
        (-math.inf, "impossible with them", f"{MINUS}∞"),
    ],
)
def test_shifts_in_words(shift, words, signed):
    assert likelier(shift) == words
    assert nats(shift, signed=True) == signed


def test_a_summary_counts():
    tokens = [made.token("a", shift=2.0), made.token("b", shift=-1.0, guidance_fraction=0.5)]
    explained = made.explanation(*tokens, made.token("c"), max_kl=0.1)
    assert summary(explained) == "3 tokens, 2 moved by 1 nat or more, 1 held back by the bound"


def test_preferences_without_a_name_are_named_by_their_text():
    assert preference_name(Preference(text="Be\nbrief.")) == "Be↵brief."
    assert preference_name(Preference(text="a" * 100)) == "a" * 39 + "…"
    assert preference_name(Preference(text="a", name="n")) == "n"


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_json_holds_all_figures(count):
    whole = made.random_explanation(count).to_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


def test_json_holds_the_direction_of_what_is_infinite():
    whole = made.token("tea", shift=-math.inf, preference_shifts=(-math.inf, 1.5, math.inf))
    assert whole.to_dict()["shift"] == -9999
    assert whole.to_dict()["preference_shifts"] == [-9999, 1.5, 9999]


@pytest.mark.parametrize("count", [1, 9, 400])
def test_the_plot_draws_each_shift_where_it_is(count):
    explained = made.random_explanation(count)
    plot = draw_shifts(explained)
    top, bottom = (float(plot.values[at].text.replace(MINUS, "-")) for at in (0, -1))
    bars = {}
    for path in (plot.likelier, plot.less_likely):
        for left, start, end in re.findall(r"M([\d.]+) ([\d.]+)h0.8V([\d.]+)h-0.8z", path):
            assert top - float(start) * (top - bottom) / 100 == pytest.approx(0, abs=0.02 * top)
            bars[int(float(left))] = top - float(end) * (top - bottom) / 100
    for at, token in enumerate(explained.tokens):
        expected = min(max(token.shift, bottom), top)
        assert bars.get(at, 0.0) == pytest.approx(expected, abs=0.01 * (top - bottom))
