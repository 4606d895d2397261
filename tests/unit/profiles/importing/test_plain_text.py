"""Preferences written down as plain text: what each line means, and what is refused."""

from __future__ import annotations

import pytest

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import InMemoryProfileStore, import_plain_text


def imported(text: str, user_id: str | None = None) -> dict[str, list[str]]:
    store = InMemoryProfileStore()
    import_plain_text(store, text, user_id=user_id)
    profiles = [store.get(it) for it in store.user_ids()]
    return {one.user_id: [it.text for it in one.preferences] for one in profiles}


@pytest.mark.parametrize(
    ("text", "preferences"),
    [
        ("Be brief.", ["Be brief."]),
        ("Be brief.\nUse lists.\n", ["Be brief.", "Use lists."]),
        ("- Be brief.\n* Use lists.\n+ No emojis.\n• Be kind.", ["Be brief.", "Use lists.", "No emojis.", "Be kind."]),  # noqa: E501
        ("1. Be brief.\n2) Use lists.", ["Be brief.", "Use lists."]),
        ("# mine\n\n  # more\nBe brief.", ["Be brief."]),
        ("\ufeffBe brief.\r\n\r\n   Use lists.   \r\n", ["Be brief.", "Use lists."]),
        ("Style: brief", ["Style: brief"]),
        ("- ann: Be brief.", ["ann: Be brief."]),
        ("-5 degrees is cold, tell me so.", ["-5 degrees is cold, tell me so."]),
        ("2026 is the year to write.", ["2026 is the year to write."]),
        ("C# is what I code in.", ["C# is what I code in."]),
        ("Be brief.\nbe  BRIEF.", ["Be brief."]),
    ],
)  # fmt: skip
def test_lines_of_one_user(text, preferences):
    assert imported(text, "ann") == {"ann": preferences}


@pytest.mark.parametrize(
    ("text", "profiles"),
    [
        ("ann: Be brief.", {"ann": ["Be brief."]}),
        ("ann: Be brief.\nben: Use lists.\nann: No emojis.", {"ann": ["Be brief.", "No emojis."], "ben": ["Use lists."]}),  # noqa: E501
        ("ann:\n- Be brief.\n- Style: plain\n\nben:\n  Use lists.", {"ann": ["Be brief.", "Style: plain"], "ben": ["Use lists."]}),  # noqa: E501
        ("ann:\nBe brief.\n\n# later\nUse lists.", {"ann": ["Be brief.", "Use lists."]}),
        ("org:ann: Be brief: one line.", {"org:ann": ["Be brief: one line."]}),
        ("Ann Müller: Be brief.", {"Ann Müller": ["Be brief."]}),
        ("ann:\n    Note: be brief.", {"ann": ["Note: be brief."]}),
    ],
)  # fmt: skip
def test_lines_of_many_users(text, profiles):
    assert imported(text) == profiles


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Be brief.", "line 1 is of no user; expected was `user: preference`"),
        ("- Be brief.", "line 1 is of no user"),
        ("ann:\nBe brief.\nStyle: plain", "line 3 can be read in two ways"),
        ("ben: Use lists.\nann:\n- Be brief.", "line 1 can be read in two ways"),
        ("ann:\nben:\n- Be brief.", "line 1 begins a section of 'ann', and no preference follows"),
        ("ben:\n- Be brief.\nann:", "line 3 begins a section of 'ann'"),
        (f"{'a' * 300}: Be brief.", "line 1: user_id has 300 characters"),
        ("# nothing\n\n", "no preference in the text"),
        (b"ann: Be brief.", "is a bytes"),
    ],
)
def test_what_is_refused_names_the_line_and_stores_nothing(text, message):
    store = InMemoryProfileStore()
    with pytest.raises(InvalidProfileError) as error:
        import_plain_text(store, text)
    assert message in str(error.value)
    assert "brief" not in str(error.value).lower()
    assert store.user_ids() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann: Be brief.\nben: Use lists.", "line 1 names 'ann'"),
        ("Be brief.\nben:\n- Use lists.", "line 2 names 'ben'"),
    ],
)
def test_lines_that_name_users_are_not_all_of_one_user(text, message):
    with pytest.raises(InvalidProfileError, match=message):
        imported(text, "ann")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1e"])
def test_a_line_cannot_hide_one_of_another_user(separator):
    text = f"ann: Be brief.{separator}ben: Use lists.\nzoe: No emojis."
    assert imported(text).keys() <= {"ann", "zoe"}
    assert imported(text)["zoe"] == ["No emojis."]


def test_a_line_that_is_no_preference_is_told():
    store = InMemoryProfileStore()
    report = import_plain_text(store, f"Be brief.\n{'x' * 2001}\nNul \0 here", user_id="ann")
    assert [(it.place, it.outcome) for it in report.entries] == [
        ("line 1", "added"),
        ("line 2", "skipped"),
        ("line 3", "skipped"),
    ]
    assert "2,001 characters" in report.entries[1].reason
    assert "control character" in report.entries[2].reason
