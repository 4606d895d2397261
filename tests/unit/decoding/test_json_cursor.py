"""A cursor in JSON that is being written, beside a reader that begins anew at every byte."""

from __future__ import annotations

import json
from itertools import pairwise
from json.decoder import scanstring

from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations.decoding.json_cursor import JsonCursor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def strings_of(text):
    """Where each string stands, from its first quote to after its last, and if it is a name."""
    found, place = [], 0
    while (place := text.find('"', place)) >= 0:
        _, end = scanstring(text, place + 1)
        found.append((place, end, text[end:].lstrip().startswith(":")))
        place = end
    return found


def states_of(text):
    """The same three answers at every place, from the whole text and hindsight."""
    inside = {
        place: is_name
        for start, end, is_name in strings_of(text)
        for place in range(start + 1, end)
    }
    depth, states = 0, [(False, False, 0)]
    for place, char in enumerate(text, 1):
        if place - 1 not in inside and place not in inside:
            depth += (char in "{[") - (char in "}]")
        states.append((place in inside, inside.get(place) is False, depth))
    return states


def state_of(cursor):
    return cursor.in_string, cursor.in_string_value, cursor.depth


@settings(deadline=None)
@given(value=JSON, compact=st.booleans(), ascii_only=st.booleans(), data=st.data())
def test_it_knows_all_along_where_it_stands(value, compact, ascii_only, data):
    indent = None if compact else 2
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    cursor, states, seen = JsonCursor(), states_of(text), []
    for char in text:
        cursor.push(char)
        seen.append(state_of(cursor))
    assert seen == states[1:]
    cursor = JsonCursor()
    cuts = data.draw(st.sets(st.integers(0, len(text))))
    for start, end in pairwise(sorted({0, *cuts, len(text)})):
        cursor.push(text[start:end])
        assert state_of(cursor) == states[end]
    assert state_of(cursor) == (False, False, 0)


@settings(deadline=None)
@given(value=JSON, data=st.data())
def test_bytes_may_be_cut_inside_a_character(value, data):
    text = json.dumps(value, ensure_ascii=False)
    raw = text.encode()
    place = data.draw(st.integers(0, len(raw)))
    whole, pieces, bytewise = JsonCursor(), JsonCursor(), JsonCursor()
    whole.push(raw[:place])
    pieces.push(raw[: place // 2])
    pieces.push(raw[place // 2 : place])
    for byte in raw[:place]:
        bytewise.push(bytes([byte]))
    # The rest of a character that was cut changes nothing.
    expected = states_of(text)[len(raw[:place].decode(errors="ignore"))]
    assert state_of(whole) == state_of(pieces) == state_of(bytewise) == expected


def test_a_copy_goes_its_own_way():
    cursor = JsonCursor()
    cursor.push('{"name": "O\\')
    copy = cursor.copy()
    copy.push('"Hara", "ag')
    assert state_of(cursor) == (True, True, 1)
    assert state_of(copy) == (True, False, 1)
    cursor.push('\\"')
    assert state_of(cursor) == (False, False, 1)


def test_text_around_json_does_no_harm():
    cursor = JsonCursor()
    cursor.push("Well: here, it is.\n<call>\n")
    cursor.push('{"a": [["b')
    assert state_of(cursor) == (True, True, 3)
    cursor.push('"]]}\n</call>')
    assert state_of(cursor) == (False, False, 0)
