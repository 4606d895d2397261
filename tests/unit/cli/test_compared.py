"""Which methods `amulet evaluate` compares, for what it is told."""

from __future__ import annotations

import pytest

from amulet_integrations.cli.compared import read_compared


@pytest.mark.parametrize(
    ("names", "strengths", "expected", "told"),
    [
        (["base", "amulet"], [], ["base", "amulet"], False),
        (["amulet"], [60], ["amulet"], False),  # is that already
        (["base"], [5], ["base", "amulet@5"], False),  # one strength is no curve
        (["amulet"], [5], ["amulet", "pref", "amulet@5"], True),
        (["pref", "amulet"], [5], ["pref", "amulet", "amulet@5"], False),
        (["pref", "amulet@10"], [10, 1], ["pref", "amulet@10", "amulet@1"], False),
        (["linear_alignment"], [3, 1], ["linear_alignment", "pref", "amulet@3", "amulet@1"], True),
    ],
)
def test_strengths_come_beside_the_methods(names, strengths, expected, told, capsys):
    compared = read_compared(names, strengths, curve=False)
    assert [method.name for method in compared] == expected
    said = "".join(capsys.readouterr())
    assert ("so pref answers as well" in said) == told


def test_the_curve_has_its_strengths_once():
    compared = read_compared(["pref", "amulet"], [5], curve=True)
    assert [method.name for method in compared][:2] == ["pref", "amulet"]
    iterations = [method.params.iterations for method in compared[1:]]
    assert iterations == [60, 5, 1, 2, 10, 30, 200]  # amulet itself has 60
