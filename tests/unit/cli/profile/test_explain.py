"""`amulet profile explain`, and the options that give preferences their conditions."""

from __future__ import annotations

import json

import pytest

from amulet_integrations import SqlProfileStore
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.oracle import BOUND, DEFAULT, SCALE

pytestmark = pytest.mark.usefixtures("shared_parents")


@pytest.fixture
def filled(amulet: Amulet, db: str) -> str:
    everyone = ("--preference", "Be polite.", "--name", "tone")
    amulet("profile", "add", "everyone", *everyone, "--profiles", db)
    amulet("profile", "add", "everyone", "--preference", "Cite sources.", "--profiles", db)
    amulet(
        *("profile", "set", "ann", "--preference", "Be brief.", "--parent", "everyone"),
        *("--iterations", "1", "--profiles", db),
    )
    for more in [
        ("--preference", "Ahoy!", "--name", "tone", "--weight", "0.5"),
        ("--preference", "Be gentle.", "--when", "topic=health", "--when", "locale=de"),
        ("--preference", "I am away.", "--until", "2026-01-01T00:00+01:00"),
        ("--preference", "I am older.", "--from", "2126-01-01T00:00Z"),
    ]:
        result = amulet("profile", "add", "ann", *more, "--profiles", db)
        assert result.exit_code == 0, result.stderr
    return db


def test_it_shows_what_holds_what_does_not_and_why(amulet: Amulet, filled: str) -> None:
    at = ("--at", "2026-06-01T12:00+00:00")
    result = amulet("profile", "explain", "ann", *at, "--profiles", filled)
    assert result.stdout.splitlines() == [
        "ann",
        "  at           2026-06-01 12:00 UTC",
        "  about        nothing given (--about NAME=VALUE)",
        "  inherits     from everyone",
        "  preferences",
        "    - tone: Be polite.",
        "      (from everyone)",
        "      (does not hold: overridden by ann's own tone)",
        "    + Cite sources.",
        "      (from everyone)",
        "    + Be brief.",
        "    + tone: Ahoy!",
        "      (weight 0.5)",
        "    - Be gentle.",
        (
            "      (does not hold: it holds when topic is 'health', and topic is not given; "
            "it holds when locale is 'de', and locale is not given)"
        ),
        "    - I am away.",
        "      (does not hold: it held until 2025-12-31T23:00:00+00:00)",
        "    - I am older.",
        "      (does not hold: it holds from 2126-01-01T00:00:00+00:00)",
        # Three weights of 1, 1 and 0.5 share a guidance scale of 1.952.
        (
            f"  comes to     amulet, guidance scale 1.95, KL ≤ {BOUND:g}: -0.952 base, +0.781, "
            "+0.781, +0.39 for each preference"
        ),
    ]


def test_the_context_and_the_time_decide(amulet: Amulet, filled: str) -> None:
    def holding(*arguments: str) -> list[str]:
        result = amulet("profile", "explain", "ann", *arguments, "--json", "--profiles", filled)
        preferences = json.loads(result.stdout)["preferences"]
        return [it["text"] for it in preferences if it["holds"]]

    always = ["Cite sources.", "Be brief.", "Ahoy!"]
    now = ("--at", "2026-06-01T12:00+00:00")
    assert holding(*now) == always
    about = ("--about", "topic=health", "--about", " locale = de ")
    assert holding(*now, *about) == [*always, "Be gentle."]
    assert holding(*now, *about[:2]) == always
    assert holding("--at", "2025-12-31T23:59+01:00") == [*always, "I am away."]
    assert holding("--at", "2126-01-01T00:00Z") == [*always, "I am older."]


def test_one_shared_context_and_none(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "ann", "--preference", "a", "--preference", "b", "--profiles", db)
    shared = amulet("profile", "explain", "ann", "--profiles", db).stdout
    strength = f"guidance scale {SCALE:g}, KL ≤ {BOUND:g} unless the caller says"
    base, pref = DEFAULT
    assert f"amulet, {strength}: {base:+.3g} base, {pref:+.3g} pref" in shared
    lines = {
        ("--guidance-scale", "1.5"): f"guidance scale 1.5, KL ≤ {BOUND:g}: -0.5 base, +1.5",
        ("--preset", "paper"): "guidance scale 5.65: -4.65 base, +5.65",
        ("--preset", "paper", "--max-kl", "0.05"): "guidance scale 5.65, KL ≤ 0.05: -4.65 base",
    }
    for options, line in lines.items():
        amulet("profile", "set", "ann", "--preference", "a", *options, "--profiles", db)
        assert line in amulet("profile", "explain", "ann", "--profiles", db).stdout
    amulet("profile", "set", "bob", "--preference", "a", "--method", "base", "--profiles", db)
    plain = amulet("profile", "explain", "bob", "--profiles", db).stdout
    assert "plain decoding: the method is base" in plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "zoe"), "There is no profile of 'zoe'"),
        (("explain", "ann", "--about", "health"), "write NAME=VALUE"),
        (("explain", "ann", "--about", "a=1", "--about", "a=2"), "'a' is given twice"),
        (("explain", "ann", "--at", "tomorrow"), "'tomorrow' is no moment"),
        (("explain", "ann", "--at", "2026-06-01T12:00"), "has no time zone"),
        (("explain", "ann", "--at", "2027"), "'2027' is no moment"),
        (("add", "ann", "--preference", "x", "--until", "2030"), "valid_until='2030' is a number"),
        (("add", "ann", "--preference", "x", "--when", "health"), "write NAME=VALUE"),
        (("add", "ann", "--preference", "x", "--from", "2026-06-01"), "valid_from"),
        (("add", "ann", "--preference", "x", "--until", "soon"), "valid_until"),
        (("set", "ann", "--preference", "x", "--parent", "ann"), "parent='ann'"),
        (("set", "everyone", "--preference", "x", "--parent", "ann"), "circle"),
    ],
)
def test_mistakes_are_reported_and_change_nothing(
    amulet: Amulet, filled: str, arguments: tuple[str, ...], message: str
) -> None:
    with SqlProfileStore(filled) as store:
        before = [store.get(user) for user in store.user_ids()]
    result = amulet("profile", *arguments, "--profiles", filled)
    assert result.exit_code == 2
    assert message in result.stderr
    with SqlProfileStore(filled) as store:
        assert [store.get(user) for user in store.user_ids()] == before


def test_parents_are_shown_and_missed_where_they_are_not_stored(amulet: Amulet, db: str) -> None:
    amulet(
        "profile", "set", "ann", "--preference", "Be brief.", "--parent", "ghost", "--profiles", db
    )
    assert "  inherits     from ghost" in amulet("profile", "show", "ann", "--profiles", db).stdout
    shown = amulet("profile", "explain", "ann", "--profiles", db).stdout
    assert "  inherits     from ghost (who has no profile)" in shown
    as_json = amulet("profile", "explain", "ann", "--json", "--profiles", db).stdout
    assert json.loads(as_json)["missing_parent"] == "ghost"


def test_commands_keep_within_what_the_operator_allows(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_MAX_PREFERENCES", "1")
    assert amulet("profile", "set", "ann", "Be brief.", "--profiles", db).exit_code == 0
    for command, message in [
        (("add", "ann", "Be kind."), "AMULET_MAX_PREFERENCES=2"),
        (("set", "ann", "Be brief.", "Be kind."), "AMULET_MAX_PREFERENCES=2"),
        (("set", "ann", "Be brief.", "--parent", "boss"), "AMULET_PROFILE_PARENTS"),
    ]:
        result = amulet("profile", *command, "--profiles", db)
        assert result.exit_code in {1, 2}
        assert message in result.stderr
    assert SqlProfileStore(db).get("ann").version == 1
