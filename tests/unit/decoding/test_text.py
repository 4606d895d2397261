"""Tokens to text, and stop strings in it, however the pieces are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations.decoding import IncrementalDetokenizer, StopStrings
from tests.support.tiny import VOCABULARY, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def pieces_of(ids):
    detokenizer = IncrementalDetokenizer(TOKENIZER)
    pieces = [detokenizer.push(token) for token in ids]
    return pieces, detokenizer.flush()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_text_comes_back_whole_and_never_half_a_character(text):
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    pieces, rest = pieces_of(ids)
    assert "".join(pieces) + rest == text
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert rest == ""
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=40))
def test_any_tokens_give_what_the_tokenizer_gives_for_all_of_them(ids):
    pieces, rest = pieces_of(ids)
    assert "".join(pieces) + rest == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_characters_of_several_tokens_come_as_soon_as_they_are_whole():
    ids = TOKENIZER("aか🙂b", add_special_tokens=False).input_ids
    pieces, _ = pieces_of(ids)
    assert [piece for piece in pieces if piece] == ["a", "か", "🙂", "b"]
    assert len(ids) > 4


def cut(text, stops):
    """The obvious algorithm: character by character, looking back each time."""
    seen = ""
    for character in text:
        seen += character
        ended = [stop for stop in stops if seen.endswith(stop)]
        if ended:
            longest = max(ended, key=len)
            return seen[: -len(longest)], longest
    return seen, None


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.text("abc", max_size=4), max_size=10),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
)
def test_stop_strings_are_found_however_the_text_is_cut(pieces, stops):
    matcher = StopStrings(stops)
    passed = "".join(matcher.push(piece) for piece in pieces)
    if matcher.found is None:
        passed += matcher.flush()
    assert (passed, matcher.found) == cut("".join(pieces), stops)


def cut_with_hidden(pieces, stops, hidden):
    """As `cut`; stop strings that contain a hidden text are looked for in all of the text."""
    seen, shown = "", ""
    shown_at = [0]  # how many characters are shown up to each place of `seen`
    for text, is_hidden in pieces:
        for character in text:
            seen += character
            shown += "" if is_hidden else character
            shown_at.append(len(shown))
            ended = []
            for stop in stops:
                if any(it in stop for it in hidden):
                    if seen.endswith(stop):
                        ended.append((shown_at[len(seen) - len(stop)], stop))
                elif not is_hidden and shown.endswith(stop):
                    ended.append((len(shown) - len(stop), stop))
            if ended:
                return shown[: min(ended)[0]]
    return shown


HIDDEN = ["X", "aX", "<Y>"]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.text("ab", max_size=3), st.just(False)),
            st.tuples(st.sampled_from(HIDDEN), st.just(True)),
        ),
        max_size=10,
    ),
    st.lists(
        st.lists(st.sampled_from(["a", "b", *HIDDEN]), min_size=1, max_size=3).map("".join),
        max_size=3,
    ),
)
def test_hidden_text_is_never_passed_on_and_found_only_by_stops_that_contain_it(pieces, stops):
    matcher = StopStrings(stops, HIDDEN)
    passed = "".join(matcher.push(text, hidden=hidden) for text, hidden in pieces)
    passed += matcher.flush()
    assert passed == cut_with_hidden(pieces, stops, HIDDEN)


def test_nothing_is_held_back_longer_than_it_must():
    matcher = StopStrings(["</end>"])
    assert matcher.push("a <") == "a "
    assert matcher.push("b") == "<b"
    assert matcher.push("</en") == ""
    assert matcher.push("d> x") == ""
    assert matcher.found == "</end>"
    assert matcher.push("more") == ""


@pytest.mark.parametrize("stops", [[], ["never"]])
def test_text_without_a_stop_is_passed_on_whole(stops):
    matcher = StopStrings(stops)
    assert matcher.push("the end ne") + matcher.flush() == "the end ne"
    assert matcher.found is None
