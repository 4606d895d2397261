"""`amulet profile learn` on the tiny engine.

Its answers are no words, and are read as other tokens than they were written as: so what is learned
is held against the functions themselves, and not against the strength that they were written at.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amulet_integrations import PreferenceProfile, SqlProfileStore
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine import LocalEngine
from amulet_integrations.learning import Example, estimate_strength, rank_preferences
from tests.support.accepted import accepted_answers
from tests.unit.cli.conftest import Amulet

pytestmark = pytest.mark.usefixtures("shared_parents")

TEXT = "Be brief."
OTHER = "You are a helpful sea."
QUESTIONS = [f"Is the sea blue on day {day}?" for day in range(6)]


@pytest.fixture(scope="module")
def liked(tiny_engine: LocalEngine) -> list[Example]:
    return list(accepted_answers(tiny_engine, QUESTIONS, TEXT, 2.0, seed=3, tokens=24))


@pytest.fixture
def file(liked: list[Example], tmp_path: Path) -> str:
    path = tmp_path / "liked.jsonl"
    lines = [
        {"question": one.question, "accepted": one.accepted, "complete": one.complete}
        for one in liked
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


@pytest.fixture
def ann(amulet: Amulet, db: str) -> str:
    amulet("profile", "set", "ann", "--preference", TEXT, "--profiles", db)
    return db


def stored(db: str) -> PreferenceProfile:
    with SqlProfileStore(db) as store:
        return store.get("ann")


@pytest.mark.parametrize(
    ("option", "bound", "shown"),
    [
        ((), {}, "default"),
        (("--max-kl", "0.5"), {"max_kl": 0.5}, "0.5"),
        (("--max-kl", "none"), {"max_kl": None}, "none"),
    ],
)
def test_the_strength_is_shown_and_stored(
    amulet: Amulet,
    ann: str,
    file: str,
    liked: list[Example],
    tiny_engine: LocalEngine,
    *,
    option: tuple[str, ...],
    bound: dict[str, float | None],
    shown: str,
) -> None:
    expected = estimate_strength(tiny_engine, stored(ann), liked, **bound)
    result = amulet("profile", "learn", "ann", file, *option, "--profiles", ann)

    assert result.exit_code == 0, result.stderr
    low, high = expected.interval
    assert result.stdout.splitlines() == [
        (
            f"Guidance scale {expected.guidance_scale:.3g} with max_kl {shown} "
            f"(95% between {low:.3g} and {high:.3g}), "
            f"from {expected.examples} answers of {expected.tokens} tokens."
        ),
        "Saved ann: 1 preference, version 2.",
    ]
    strength = Strength(guidance_scale=expected.guidance_scale, max_kl=expected.max_kl)
    assert stored(ann).strength == strength


def test_a_dry_run_stores_nothing(amulet: Amulet, ann: str, file: str) -> None:
    result = amulet("profile", "learn", "ann", file, "--dry-run", "--json", "--profiles", ann)
    assert json.loads(result.stdout)["guidance_scale"] > 0
    assert stored(ann).version == 1


def test_what_is_inherited_counts_and_is_not_copied(
    amulet: Amulet, db: str, file: str, liked: list[Example], tiny_engine: LocalEngine
) -> None:
    amulet("profile", "set", "all", "--preference", TEXT, "--method", "pref", "--profiles", db)
    with SqlProfileStore(db) as store:
        store.save(PreferenceProfile(user_id="ann", parent="all"))
    result = amulet("profile", "learn", "ann", file, "--profiles", db)
    assert "The method is amulet now; it was pref." in result.stderr
    alone = PreferenceProfile(user_id="ann", preferences=[TEXT])
    found = stored(db)
    assert (found.preferences, found.parent, found.method) == ((), "all", "amulet")
    assert found.guidance_scale == estimate_strength(tiny_engine, alone, liked).guidance_scale


def test_candidates_are_ranked(
    amulet: Amulet, ann: str, file: str, liked: list[Example], tiny_engine: LocalEngine
) -> None:
    expected = rank_preferences(tiny_engine, [OTHER, TEXT], liked)
    candidates = ("--among", OTHER, "--among", TEXT)
    result = amulet("profile", "learn", "ann", file, *candidates, "--profiles", ann)
    assert result.stdout.splitlines() == [
        f"{one.probability:6.1%}  {one.preference.text}" for one in expected.ranked
    ]
    assert expected.best.preference.text == TEXT
    content = json.loads(
        amulet("profile", "learn", "ann", file, *candidates, "--json", "--profiles", ann).stdout
    )
    assert content["ranked"][0]["preference"] == TEXT
    assert stored(ann).version == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no examples"),
        ("nonsense", "line 1"),
        ('{"question": "Is it?", "accepted": "Yes."}', "token"),
        ('{"question": "Is it?"}', "accepted"),
    ],
)
def test_too_little_is_refused(
    amulet: Amulet, ann: str, tmp_path: Path, lines: str, message: str
) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(lines)
    result = amulet("profile", "learn", "ann", str(path), "--profiles", ann)
    assert result.exit_code == 2
    assert message in result.stderr
    assert stored(ann).version == 1


@pytest.mark.parametrize("bound", ["-1", "nan", "much"])
def test_a_bad_bound_is_refused(amulet: Amulet, ann: str, file: str, bound: str) -> None:
    result = amulet("profile", "learn", "ann", file, "--max-kl", bound, "--profiles", ann)
    assert (result.exit_code, stored(ann).version) == (2, 1)
    assert "nats" in result.stderr


def test_whoever_has_no_profile_is_reported(amulet: Amulet, db: str, file: str) -> None:
    result = amulet("profile", "learn", "zoe", file, "--profiles", db)
    assert "There is no profile of 'zoe'" in result.stderr


def test_ranking_takes_no_options_of_the_estimate(amulet: Amulet, db: str, file: str) -> None:
    candidates = ("--among", OTHER, "--among", TEXT)
    for option in (("--dry-run",), ("--about", "topic=health")):
        result = amulet("profile", "learn", "ann", file, *candidates, *option, "--profiles", db)
        assert (result.exit_code, "--among stores nothing" in result.stderr) == (2, True)
