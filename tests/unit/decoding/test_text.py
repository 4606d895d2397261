"""Tokens to text, and stop strings in it, however the pieces are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations.decoding import IncrementalDetokenizer, StopStrings
from amulet_integrations.decoding.completion_text import CompletionText, special_tokens
from tests.support.tiny import VOCABULARY, tiny_tokenizer
from tests.unit.prompting.models import SPECIAL, byte_level, metaspace

TOKENIZER = tiny_tokenizer()
SPACED = metaspace()  # the text of a token depends on where it stands
CONTROL_TOKENS = list(special_tokens(SPACED))
WORDS = [token for text, token in SPACED.get_vocab().items() if not text.startswith("<0x")]


def pieces_of(ids, tokenizer=TOKENIZER):
    detokenizer = IncrementalDetokenizer(tokenizer)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.sampled_from(CONTROL_TOKENS), max_size=12))
def test_spaces_between_tokens_are_kept(ids):
    pieces, rest = pieces_of(ids, SPACED)
    assert "".join(pieces) + rest == SPACED.decode(ids, skip_special_tokens=True)


def test_text_is_not_tidied():
    tokenizer = tiny_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    ids = tokenizer("Is n't it , well ?", add_special_tokens=False).input_ids
    assert "".join(pieces_of(ids, tokenizer)[0]) == "Is n't it , well ?"


def test_characters_of_several_tokens_come_as_soon_as_they_are_whole():
    ids = TOKENIZER("aか🙂b", add_special_tokens=False).input_ids
    pieces, _ = pieces_of(ids)
    assert [piece for piece in pieces if piece] == ["a", "か", "🙂", "b"]
    assert len(ids) > 4


@pytest.mark.parametrize("bad", [[], [0xFF], [0xE2, 0x82]])
def test_a_wrong_byte_spoils_no_character_before_it(bad):
    written = "🙂é" * 4
    ids = [SPACED.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in [*written.encode(), *bad]]
    end = SPACED("end", add_special_tokens=False).input_ids
    assert SPACED.decode(ids).count("\N{REPLACEMENT CHARACTER}") == (len(ids) if bad else 0)
    pieces, rest = pieces_of(ids, SPACED)
    assert "".join(pieces) == written
    assert rest == "\N{REPLACEMENT CHARACTER}" * len(bad)
    pieces, rest = pieces_of([*ids, *end], SPACED)
    assert "".join(pieces) + rest == written + "\N{REPLACEMENT CHARACTER}" * len(bad) + " end"


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
    assert matcher.push("the end ne") == ("the end " if stops else "the end ne")
    assert matcher.flush() == ("ne" if stops else "")
    assert matcher.flush() == ""
    assert matcher.found is None


@pytest.mark.parametrize("make", [byte_level, metaspace])
def test_special_tokens_are_those_that_decoding_leaves_out(make):
    tokenizer = make()
    special = [*SPECIAL, *(["<unk>"] if make is metaspace else [])]
    assert special_tokens(tokenizer) == {
        tokenizer.convert_tokens_to_ids(text): text for text in special
    }


START, END = "<|im_start|>", "<|im_end|>"
HIDDEN_TOKENS = special_tokens(TOKENIZER)
parts = st.lists(st.sampled_from(["a", "b🙂", "か", " ab", START, END]), min_size=1, max_size=8)
stop_strings = st.lists(
    st.lists(st.sampled_from(["a", "b", "🙂", " ", START, END]), min_size=1, max_size=3).map(
        "".join
    ),
    max_size=3,
)


def tokens_of(text):
    return TOKENIZER(text, add_special_tokens=False).input_ids


@settings(max_examples=200, deadline=None)
@given(st.lists(parts, max_size=3), stop_strings, st.booleans(), st.booleans())
def test_a_completions_text_ends_at_a_stop_string_where_it_may(runs, stops, first_may, skip):
    """Tokens at which a stop string may end the text alternate with others, run by run."""
    hidden = HIDDEN_TOKENS if skip else {}
    text = CompletionText(TOKENIZER, stops, hidden, skip_special_tokens=skip)
    written, expected, may_stop = "", "", first_may
    for index, run in enumerate(runs):
        may_stop = first_may if index % 2 == 0 else not first_may
        pieces = [(part, part in hidden.values()) for part in run]
        shown = "".join(part for part, is_hidden in pieces if not is_hidden)
        expected += cut_with_hidden(pieces, stops, list(hidden.values())) if may_stop else shown
        for token in tokens_of("".join(run)):
            written += text.push(token, may_stop=may_stop)
        if text.is_stopped:
            break
    assert written + text.finish(may_stop=may_stop) == expected


@pytest.mark.parametrize(
    ("stops", "may_stop", "expected"),
    [
        ([], True, "a sea"),
        (["sea" + END], True, "a "),
        (["sea" + END], False, "a sea"),
        (["ea"], True, "a s"),
        (["!"], True, "a sea"),
    ],
)
def test_the_token_that_ends_a_completion_is_no_text_but_may_be_part_of_a_stop_string(
    stops, may_stop, expected
):
    (mark,) = tokens_of("!")
    for end, text_of_it in (1, END), (mark, END):
        text = CompletionText(TOKENIZER, stops, {end: text_of_it}, skip_special_tokens=False)
        written = "".join(text.push(token, may_stop=may_stop) for token in tokens_of("a sea"))
        written += text.push(end, is_end=True, may_stop=may_stop)
        assert written + text.finish(may_stop=may_stop) == expected
        assert text.is_stopped == (expected != "a sea")


@pytest.mark.parametrize("may_stop", [True, False])
def test_bytes_that_are_no_character_come_last_and_may_be_a_stop_string(may_stop):
    text = CompletionText(TOKENIZER, ["\ufffd"])
    assert "".join(map(text.push, tokens_of("a🙂")[:-1])) == "a"
    assert text.finish(may_stop=may_stop) == ("" if may_stop else "\ufffd")
    assert text.is_stopped == may_stop
