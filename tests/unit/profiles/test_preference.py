from __future__ import annotations

import pickle
import traceback
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from amulet_integrations.errors import AmuletError, InvalidProfileError, UnknownArgumentError
from amulet_integrations.profiles import Preference

PRIVATE = "I am recovering from an illness"


def test_only_the_text_is_needed():
    preference = Preference(text="  Be brief. \n")
    assert preference.text == "Be brief."
    assert preference.weight == 1.0
    assert preference.name is None
    assert preference.valid_from is None
    assert preference.valid_until is None
    assert preference.when == {}


@pytest.mark.parametrize("kind", ["style", "topic"])
def test_a_kind_comes_back_and_a_preference_without_one_is_written_as_before(kind):
    preference = Preference(text="Be brief.", kind=kind)
    assert Preference.model_validate_json(preference.model_dump_json()) == preference
    assert "kind" not in Preference(text="Be brief.").model_dump()
    with pytest.raises(InvalidProfileError, match="kind"):
        Preference(text="Be brief.", kind="habit")


def test_line_feeds_and_tabs_may_be_in_the_text():
    assert Preference(text="One.\n\tTwo.").text == "One.\n\tTwo."


def test_the_longest_text_is_measured_after_stripping():
    assert len(Preference(text=" " + "ä" * 2_000 + " ").text) == 2_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("x" * 2_317, "has 2,317 characters; at most 2,000"),
        ("a\rb", r"control character '\r' at position 1"),
        ("\x00", r"control character '\x00' at position 0"),
        ("a\x7f", r"control character '\x7f'"),
        ("a\x85b", r"control character '\x85'"),
        ("\x1b[31mred", r"control character '\x1b'"),
        ("ab\ud83d", r"lone surrogate '\ud83d' at position 2"),
        (None, "NoneType; give a string"),
        (5, "int; give a string"),
        (b"Be brief.", "bytes; give a string"),
    ],
)
def test_bad_texts_are_refused(text, message):
    with pytest.raises(InvalidProfileError) as caught:
        Preference(text=text)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("weight", [1.0001, -1.0001, float("nan"), float("inf"), "strong", None])
def test_bad_weights_are_refused_and_named(weight):
    with pytest.raises(InvalidProfileError, match=f"weight={weight!r}"):
        Preference(text="Be brief.", weight=weight)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\ud800", "x" * 257, 5])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidProfileError, match="name"):
        Preference(text="Be brief.", name=name)


@pytest.mark.parametrize("field", ["valid_from", "valid_until"])
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001 - the fault under test
        "2026-01-01T00:00:00",
        "yesterday",
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
    ],
)
def test_moments_need_a_time_zone_and_a_possible_year(field, moment):
    with pytest.raises(InvalidProfileError, match=field):
        Preference(text="Be brief.", **{field: moment})


def test_moments_are_kept_in_utc():
    local = datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    preference = Preference(text="Be brief.", valid_from=local)
    assert preference.valid_from.isoformat() == "2026-01-01T00:00:00+00:00"
    same = Preference(text="Be brief.", valid_from=datetime(2026, 1, 1, tzinfo=UTC))
    assert preference == same
    assert hash(preference) == hash(same)


@pytest.mark.parametrize("later", [timedelta(0), timedelta(seconds=-1)])
def test_the_end_must_come_after_the_beginning(later):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidProfileError, match=r"valid_until=.* is not after valid_from="):
        Preference(text="Be brief.", valid_from=start, valid_until=start + later)


@pytest.mark.parametrize(
    "when", [{"task": 5}, {5: "email"}, "email", ["email"], {"a\x00": "b"}, {"a": "\ud800"}, None]
)
def test_bad_conditions_are_refused(when):
    with pytest.raises(InvalidProfileError, match="when"):
        Preference(text="Be brief.", when=when)


def test_misspelt_names_are_refused_with_the_right_one():
    with pytest.raises(UnknownArgumentError, match="did you mean 'weight'"):
        Preference(text="Be brief.", wieght=0.5)


def test_nothing_of_a_preference_can_be_changed():
    source = {"task": "email"}
    preference = Preference(text="Be brief.", when=source)
    source["task"] = "code"
    with pytest.raises(ValidationError):
        preference.weight = 0.5
    with pytest.raises(TypeError):
        preference.when["task"] = "code"
    assert preference.when == {"task": "email"}


def test_equal_preferences_are_one_in_a_set():
    one = Preference(text="Be brief.", when={"a": "1", "b": "2"})
    two = Preference(text=" Be brief.", when={"b": "2", "a": "1"})
    other = Preference(text="Be brief.", when={"a": "1"})
    assert {one, two, other} == {one, other}
    assert hash(one) == hash(two)


def test_copies_and_pickles_are_equal():
    preference = Preference(text="Be brief.", name="short", when={"task": "email"})
    assert pickle.loads(pickle.dumps(preference)) == preference  # noqa: S301 - our own bytes
    assert preference.model_copy(deep=True) == preference
    assert preference.model_copy(update={"weight": 0.5}).when == {"task": "email"}
    with pytest.raises(InvalidProfileError, match="weight=2"):
        preference.model_copy(update={"weight": 2})


def test_conditions_dump_as_a_plain_dict():
    dumped = Preference(text="Be brief.", when={"task": "email"}).model_dump()
    assert type(dumped["when"]) is dict
    assert dumped["when"] == {"task": "email"}
    assert Preference.model_json_schema()["properties"]["when"]["type"] == "object"


def test_reprs_show_no_text():
    preference = Preference(text=PRIVATE, weight=0.5, name="health")
    for shown in (repr(preference), str(preference), f"{preference}", repr([preference])):
        assert PRIVATE not in shown
        assert "weight=0.5" in shown
        assert "name='health'" in shown
        assert "<31 characters>" in shown


@pytest.mark.parametrize(
    "bad",
    [
        {"text": PRIVATE + "\x00"},
        {"text": [PRIVATE]},
        {"text": PRIVATE.encode()},
        {"text": PRIVATE * 100},
        {"text": PRIVATE, "weight": 2},
        {"text": PRIVATE, "valid_until": "never"},
        {"text": PRIVATE, "name": ""},
        {
            "text": PRIVATE,
            "valid_from": datetime(2026, 1, 2, tzinfo=UTC),
            "valid_until": datetime(2026, 1, 1, tzinfo=UTC),
        },
    ],
)
def test_neither_errors_nor_their_tracebacks_show_the_text(bad):
    with pytest.raises(AmuletError) as caught:
        Preference(**bad)
    # The last lines of every error in the chain; source lines of this test are not of interest.
    chain, error = [], caught.value
    while error is not None:
        chain += traceback.format_exception_only(error)
        error = error.__cause__ or error.__context__
    assert PRIVATE not in "".join(chain)


fields = st.fixed_dictionaries(
    {"text": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)},
    optional={
        "weight": st.floats(-1, 1),
        "name": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
            str.strip
        ),
        "valid_from": st.datetimes(
            max_value=datetime(2025, 12, 31),  # noqa: DTZ001 - hypothesis adds the zone
            min_value=datetime(2, 1, 1),  # noqa: DTZ001
            timezones=st.timezones(),
        ),
        "valid_until": st.datetimes(
            min_value=datetime(2026, 1, 2),  # noqa: DTZ001
            max_value=datetime(9998, 1, 1),  # noqa: DTZ001
            timezones=st.timezones(),
        ),
        "when": st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs", "Cc"])),
            st.text(st.characters(exclude_categories=["Cs", "Cc"])),
            max_size=3,
        ),
    },
)


@given(fields)
def test_json_holds_a_preference_exactly(values):
    preference = Preference(**values)
    again = Preference.model_validate_json(preference.model_dump_json())
    assert again == preference
    assert hash(again) == hash(preference)
    assert again.model_dump() == preference.model_dump()
    for name in values.keys() - {"text"}:
        given_value = values[name]
        if isinstance(given_value, datetime):
            # Python calls moments beside a change of the clocks unequal in any other zone.
            given_value = given_value.astimezone(UTC)
        assert getattr(again, name) == given_value
    assert again.text == values["text"].strip()


@pytest.mark.parametrize("moment", [2030, 2030.5, "2030", " 1893456000 ", "2e9", b"2030", True])
@pytest.mark.parametrize("field", ["valid_from", "valid_until"])
def test_a_number_is_no_moment(field, moment):
    """Pydantic takes 2030 for half an hour after the beginning of 1970."""
    with pytest.raises(InvalidProfileError, match=rf"{field}=.*is a number"):
        Preference(text="Be brief.", **{field: moment})
