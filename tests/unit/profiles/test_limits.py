"""The operator's bound on the length of a preference."""

from __future__ import annotations

import pytest

from amulet_integrations import Preference
from amulet_integrations.errors import InvalidParamsError, InvalidProfileError

VARIABLE = "AMULET_MAX_PREFERENCE_CHARS"


def test_two_thousand_characters_unless_the_operator_says_otherwise(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert len(Preference(text="x" * 2_000).text) == 2_000
    with pytest.raises(InvalidProfileError, match=r"has 2,001 characters; at most 2,000"):
        Preference(text="x" * 2_001)


@pytest.mark.parametrize(("value", "most"), [("10", 10), (" 5000 ", 5000), ("", 2000), (" ", 2000)])
def test_the_environment_sets_another_bound(monkeypatch, value, most):
    monkeypatch.setenv(VARIABLE, value)
    assert len(Preference(text="x" * most).text) == most
    with pytest.raises(InvalidProfileError, match=f"at most {most:,} are allowed"):
        Preference(text="x" * (most + 1))


@pytest.mark.parametrize("value", ["0", "-5", "many", "1e3", "2.5", "²"])
def test_a_bound_that_is_none_is_refused_with_its_name(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InvalidParamsError, match=f"{VARIABLE}='{value}'"):
        Preference(text="Be brief.")
