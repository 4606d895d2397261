"""White space and unseen characters are shown, and nothing is lost or added."""

from __future__ import annotations

import unicodedata

import pytest

from amulet_integrations.explanation.visible_text import NOTHING, label, visible_runs
from amulet_integrations.terminal_text import safe
from tests.unit.explanation.made import HOSTILE


@pytest.mark.parametrize("text", HOSTILE)
def test_the_text_stays_whole(text):
    assert "".join(run.text for run in visible_runs(text)) == safe(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_one_line_that_can_be_seen(text):
    shown = label(text)
    assert shown
    assert safe(shown) == shown
    assert shown == shown.strip()
    kinds = {unicodedata.category(it) for it in shown if it not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(("", NOTHING), (" ", "·"), ("   ", "···"), (" tea", "·tea"), ("tea ", "tea·")),
        *(("a b", "a b"), ("a  b", "a··b"), ("\n\n", "↵↵"), ("\t", "⇥"), ("\r\n", "␍↵")),
        *(("\u00a0", "⍽"), ("\u3000", "␣"), ("a\0", "a␀"), ("\x1b[31m", "␛[31m")),
        *(("\u202e", "⟨U+202E⟩"), ("a\u200fb", "a⟨U+200F⟩b"), ("\u200d", "⟨U+200D⟩")),
        *(("\u0301", "◌\u0301"), ("\ud800", "⟨U+D800⟩"), ("👨‍👩‍👧", "👨‍👩‍👧")),
    ],
)
def test_what_is_shown(text, shown):
    assert label(text) == shown
