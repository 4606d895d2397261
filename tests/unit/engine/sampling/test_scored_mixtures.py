"""Mixtures, bounds and temperatures that are no such things are refused by name and value."""

from __future__ import annotations

import math

import pytest

from amulet_integrations.errors import InvalidRequestError

TWO = [[-1.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("mixtures", "options", "message"),
    [
        (TWO, {"max_kl": -0.1}, "max_kl=-0.1: give a bound in nats, 0 or more"),
        (TWO, {"max_kl": [0.1, math.nan]}, r"max_kl\[1\]=nan: give a bound"),
        (TWO, {"max_kl": math.inf}, "max_kl=inf"),
        (TWO, {"max_kl": "0.2"}, "max_kl='0.2'"),
        (TWO, {"max_kl": True}, "max_kl=True"),
        (TWO, {"max_kl": 10**400}, "max_kl=1000"),
        (TWO, {"max_kl": [0.1]}, "1 bounds in max_kl for 2 mixtures"),
        (None, {"max_kl": 0.1}, "max_kl=0.1 is given without mixtures"),
        (TWO, {"reference_weights": [0, 1]}, "reference_weights are given without max_kl"),
        (TWO, {"max_kl": 0.1, "reference_weights": [1]}, "1 reference_weights for 2 contexts"),
        (TWO, {"max_kl": 0.1, "reference_weights": [1, 1]}, "add up to 2"),
        (TWO, {"max_kl": 0.1, "reference_weights": [[0, 1]]}, "1 rows of reference_weights for 2"),
        (
            [[0.0, 1.0], [-2.0, 4.0]],
            {"max_kl": 0.1},
            r"mixtures\[1\] has a bound, max_kl=0.1, and .* add up to 2; .* A temperature is",
        ),
        (TWO, {"temperature": 0.0}, "temperature=0.0: give a finite number above 0"),
        (None, {"temperature": -1}, "temperature=-1"),
        (None, {"temperature": math.nan}, "temperature=nan"),
        (None, {"temperature": math.inf}, "temperature=inf"),
        (None, {"temperature": 10**400}, "temperature=1000"),
        ([[-4e5, 4e5]], {"temperature": 0.1}, "a weight past 100,000 in size"),
    ],
)
def test_bad_bounds_are_refused_before_any_computing(
    tiny_engine, monkeypatch, mixtures, options, message
):
    monkeypatch.setattr(tiny_engine, "backend", None)
    with pytest.raises(InvalidRequestError, match=message):
        tiny_engine.score([[5], [6]], [7], mixtures, **options)
    with pytest.raises(InvalidRequestError, match="with 3 contexts: pass reference_weights"):
        tiny_engine.score([[5], [6], [7]], [7], [[0.0, 0.5, 0.5]], max_kl=0.1)


@pytest.mark.parametrize(
    ("mixtures", "message"),
    [
        ([], r"mixtures=\[\]: give at least one row"),
        (2.0, "mixtures=2.0: give at least one row"),
        ("ab", "mixtures='ab'"),
        ([1.0, 0.0], r"mixtures\[0\]=1.0: give a row of 2 weights"),
        ([[1.0, 0.0], [1.0]], r"mixtures\[1\] has 1 weights for 2 contexts"),
        ([[1.0, math.nan]], r"mixtures\[0\] holds the weight nan"),
        ([[1.0, 0.0], [math.inf, 0.0]], r"mixtures\[1\] holds the weight inf"),
        ([[1.0, 1e39]], r"mixtures\[0\] holds a weight past 1,000,000 in size"),
        ([[1.0, 0.0], [-(10**400), 0.0]], r"mixtures\[1\] holds a weight past 1,000,000"),
        ([[1.0, "0"]], r"mixtures\[0\] holds the weight '0'"),
        ([[True, 0.0]], r"mixtures\[0\] holds the weight True"),
    ],
)
def test_bad_mixtures_are_refused_before_any_computing(tiny_engine, monkeypatch, mixtures, message):
    monkeypatch.setattr(tiny_engine, "backend", None)
    with pytest.raises(InvalidRequestError, match=message):
        tiny_engine.score([[5], [6]], [7], mixtures)
