"""Tables are shown as they are, whatever names they contain."""

from __future__ import annotations

import unicodedata

import pytest
from markdown_it import MarkdownIt

from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.reporting.result_tables import (
    win_text,
)
from amulet_integrations.evaluation.reporting.score_tables import (
    score_table,
    score_text,
)
from amulet_integrations.evaluation.reporting.text_tables import (
    format_number,
    format_p_value,
    terminal_table,
    to_markdown,
)
from tests.unit.evaluation import made


def test_markdown_keeps_the_table_whole_whatever_names_hold():
    answers = [
        made.answer("a|b", preference="*x*\n| y", scores={"reward": value}) for value in (1, 2)
    ]
    lines = to_markdown(score_text(score_table(answers, "reward"))).strip().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert {row.replace("\\|", "").count("|") for row in rows} == {4}
    assert "\\*x\\* \\| y" in rows[-1]


def test_the_best_is_bold_in_markdown_with_its_interval_beside():
    text = to_markdown(score_text(score_table(made.small(), "reward")))
    assert "| creative | base | 2.000 [1.000, 3.000] | **10.000** |" in text


def test_a_terminal_gets_strings():
    header, rows, words = terminal_table(score_text(score_table(made.small(), "reward")))
    assert words == 2
    assert header == ["", "method", "sea", "sky", "average"]
    assert rows[0][:2] == ["creative", "base"]
    assert rows[1][:2] == ["", "amulet"]
    assert all(len(row) == 5 and all(isinstance(cell, str) for cell in row) for row in rows)


def test_numbers():
    assert format_number(-0.0001, 3) == "0.000"
    assert format_number(0.0001, 3, signed=True) == "0.000"
    assert format_number(1.5, 1, signed=True) == "+1.5"
    assert format_p_value(0.0004) == "<0.001"
    assert format_p_value(0.05) == "0.050"


HOSTILE = [
    "![x](http://a.example/x.png)",
    "[x](http://a.example)",
    "<img src=x onerror=y> & <b>",
    "`code` | ``",
    "*x* __y__ ~~z~~ _w_",
    "\\",
    "# x #",
    "$a$ http://a.example www.a.example",
    "one\n\n| two |",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_every_name_as_it_is(text):
    """What another program makes of the Markdown: a heading, a text and a table of plain words."""
    answers = [
        made.answer(method, preference=text, data_set=text, scores={text: 1.0})
        for method in (text, "b")
    ]
    counts = win_counts(made.outcomes((text,), judge=text))
    tables = [score_text(score_table(answers, text)), win_text(counts)]
    parsed = MarkdownIt("commonmark").enable("table").parse("\n".join(map(to_markdown, tables)))
    kinds = {token.type for token in parsed}
    assert kinds <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"),
        *(f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td")
          for end in ("open", "close")),
    }  # fmt: skip
    inner = [child for token in parsed for child in token.children or ()]
    assert {child.type for child in inner} <= {
        "text",
        "text_special",
        "strong_open",
        "strong_close",
    }
    shown = ["".join(c.content for c in token.children) for token in parsed if token.children]
    words = " ".join(text.split())
    assert shown[0] == " ".join(text.replace("_", " ").split())  # the score's, as a heading
    assert shown[1:].count(words) == 4  # data set, preference, method, the method judged against
    assert any(f"The judge is {words}." in part for part in shown)
    written = "\n".join(map(to_markdown, tables))
    assert "http://" not in written
    assert "www.a" not in written


def test_control_characters_are_shown_and_not_obeyed():
    evil = "x\x1b[2J\x07\r\x9b2J\ny"
    answers = [
        made.answer(method, preference=evil, data_set=evil, scores={evil: 1.0})
        for method in (evil, "b")
    ]
    tables = [
        score_text(score_table(answers, evil)),
        win_text(win_counts(made.outcomes((evil,), judge=evil))),
    ]
    for table in tables:
        text = str(table)
        assert "x␛[2J" in text
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c != "\n"]
        grouped = [row for group in table.groups for row in group.rows]
        assert len(text.splitlines()) == 3 + len(grouped)  # title, header and caption


def test_plain_text_has_aligned_columns():
    lines = str(score_text(score_table(made.small("words", ("formal",)), "words"))).splitlines()
    assert lines == [
        "Words",
        "        method             sea   sky         average",
        "formal  base    2.0 [1.0, 3.0]  10.0  6.0 [5.5, 6.5]",
        "        amulet  5.0 [4.0, 6.0]   1.0  3.0 [2.5, 3.5]",
        "How many words the answer has.",
    ]
