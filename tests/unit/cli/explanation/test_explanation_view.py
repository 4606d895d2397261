"""An explanation in the terminal: text steers nothing, columns stay aligned, nothing is lost."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from rich.cells import cell_len
from rich.console import Console

from amulet_integrations.cli.explanation.explanation_view import print_explanation
from amulet_integrations.explanation.visible_text import flat, label
from amulet_integrations.explanation.wording import nats, percentage, strength
from amulet_integrations.terminal_text import safe
from tests.unit.explanation import made

STYLES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def no_settings_of_the_caller(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORFGBG", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)


def printed(explanation, *, width=100, colours="truecolor", terminal=True, **settings):
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        color_system=colours,
        markup=False,
        emoji=False,
        highlight=False,
        **settings,
    )
    print_explanation(explanation, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def hostile():
    return made.hostile_explanation()


@pytest.mark.parametrize("colours", ["truecolor", "256", "standard", None])
def test_hostile_text_steers_no_terminal(hostile, colours):
    shown = STYLES.sub("", printed(hostile, colours=colours))
    assert safe(shown) == shown
    kinds = {unicodedata.category(it) for it in shown if it not in "\n\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    for token in hostile.tokens:
        text = (label if colours is None else flat)(token.text).strip()
        if "\n" not in token.text and cell_len(text) < 20:
            assert text in shown.replace("\n", "")


def test_text_is_no_markup():
    tokens = [made.token(text) for text in ("[bold red]x[/]", ":smile:", "**b**", "\\[x]")]
    for terminal in (True, False):
        shown = STYLES.sub("", printed(made.explanation(*tokens), terminal=terminal))
        assert all(token.text in shown for token in tokens)


def test_nothing_is_lost_without_colours():
    explained = made.random_explanation(40)
    shown = printed(explained, terminal=False, colours=None)
    assert "\x1b" not in shown
    assert shown == printed(explained, no_color=True)
    rows = [line for line in shown.splitlines() if re.match(r" *\d+  ", line)]
    assert len(rows) == 40
    for row, token in zip(rows, explained.tokens, strict=True):
        policies = (token.base, token.pref, token.policy)
        values = [label(token.text), nats(token.shift, signed=True), strength(token.guidance_scale)]
        for value in (*values, *(percentage(it.logprob) for it in policies)):
            assert f" {value}" in row


def test_wide_and_combining_characters_keep_the_columns():
    texts = ["tea", "茶茶", "e\u0301", "\u0301", "👨‍👩‍👧", "ﷺ", "\u3000", "a" + "\u0300" * 40]
    explained = made.explanation(*(made.token(text, shift=1.0) for text in texts))
    shown = printed(explained, terminal=False, colours=None)
    rows = [line for line in shown.splitlines() if "+1.00" in line]
    assert len(rows) == len(texts)
    assert len({cell_len(row[: row.index("+1.00")]) for row in rows}) == 1


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width):
    explained = made.random_explanation(300)
    lines = STYLES.sub("", printed(explained, width=width)).splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("background", "dark"), [("", True), ("15;0", True), ("0;15", False)])
def test_tints_suit_the_background(monkeypatch, background, dark):
    monkeypatch.setenv("COLORFGBG", background)
    shown = printed(made.explanation(made.token("tea", shift=9.0)))
    [ink] = {it.groups() for it in re.finditer(r"38;2;(\d+);(\d+);(\d+);48;2", shown)}
    assert (int(ink[0]) > 128) == dark


def test_white_space_can_be_seen():
    explained = made.explanation(made.token("a"), made.token("\n"), made.token("  "))
    assert "a↵\n··" in STYLES.sub("", printed(explained))


def test_the_tokens_most_moved_come_in_order():
    explained = made.random_explanation(60)
    shown = STYLES.sub("", printed(explained)).partition("Tokens most moved")[2]
    shifts = re.findall(r"^ *([+\u2212][\d.∞]+) ", shown, re.MULTILINE)
    expected = [explained.tokens[at].shift for at in explained.most_moved(10)]
    assert shifts == [nats(shift, signed=True) for shift in expected]


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_answers_of_any_length(count):
    assert "Question: How do I make tea?" in STYLES.sub("", printed(made.random_explanation(count)))
