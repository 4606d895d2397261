"""Which methods `amulet evaluate` compares, by its options."""

from __future__ import annotations

import pytest

from amulet_integrations.cli.evaluation.evaluate_inputs import compared_methods
from amulet_integrations.evaluation import DEFAULT_GRID
from amulet_integrations.evaluation.data.methods import strength_of


@pytest.mark.parametrize(
    ("names", "strengths", "expected", "notice"),
    [
        (["base", "amulet"], [], ["base", "amulet"], False),
        (["amulet@paper"], [60], ["amulet@paper"], False),  # is that already
        (["base"], [5], ["base", "amulet@5"], False),  # one strength is no curve
        (["amulet"], [5], ["amulet", "pref", "amulet@5"], True),
        (["pref", "amulet"], [5], ["pref", "amulet", "amulet@5"], False),
        (["pref", "amulet@10"], [10, 1], ["pref", "amulet@10", "amulet@1"], False),
        (["linear_alignment"], [3, 1], ["linear_alignment", "pref", "amulet@1", "amulet@3"], True),
    ],
)
def test_strengths_come_beside_the_methods(names, strengths, expected, notice, capsys):
    compared = compared_methods(names, strengths, curve=False)
    assert [method.name for method in compared] == expected
    printed = "".join(capsys.readouterr())
    assert ("so pref answers as well" in printed) == notice


def test_the_curve_has_every_point_of_its_grid_once():
    compared = compared_methods(["pref", "amulet@p=5,kl=0.4"], [5], curve=True)
    assert [method.name for method in compared][:2] == ["pref", "amulet@p=5,kl=0.4"]
    found = {strength_of(method) for method in compared[1:]}
    assert len(found) == len(compared) - 1 == 13  # twelve of the grid, and five iterations
    assert set(DEFAULT_GRID) < found
