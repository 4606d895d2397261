"""What is shown on a terminal steers none, whatever people wrote."""

from __future__ import annotations

import json
import unicodedata

import pytest

from amulet_integrations.terminal_text import one_line, quoted_if_odd, safe, safe_json
from tests.support.hostile import ALL_STRINGS, MEGABYTE

DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def as_json(text):
    return safe_json(json.dumps(text, ensure_ascii=False))


@pytest.mark.parametrize("shown", [safe, one_line, quoted_if_odd, as_json])
def test_hostile_text_is_shown_and_not_obeyed(shown):
    for text in [*ALL_STRINGS, MEGABYTE]:
        found = shown(text)
        found.encode()
        obeyed = {char for char in found if unicodedata.category(char) in {"Cc", "Cs"}}
        assert obeyed <= {"\n", "\t"}, ascii(text)[:80]
        assert not DIRECTIONS & set(found), ascii(text)[:80]


def test_one_line_is_one_line():
    for text in ALL_STRINGS:
        assert len(one_line(text).splitlines()) <= 1, ascii(text)


def test_json_holds_the_same_values():
    for text in ALL_STRINGS:
        assert json.loads(as_json(text)) == text, ascii(text)


def test_no_two_names_are_shown_as_the_same_text():
    names = {*ALL_STRINGS, *(f"{text} " for text in ALL_STRINGS), *map(repr, ALL_STRINGS)}
    assert len({quoted_if_odd(name) for name in names}) == len(names)
    for name in ("ann", "Zoé O'Hara", "ann@例え.jp", "שלום", "😀"):
        assert quoted_if_odd(name) == name


def test_harmless_text_is_shown_as_it_is():
    text = "Äö 日本語 שלום مرحبا 👨‍👩‍👧‍👦 e\u0301\n\ta"
    assert safe(text) == text
