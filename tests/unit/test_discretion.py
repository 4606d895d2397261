"""What is private is told by no error, not even in its traceback."""

from __future__ import annotations

import traceback

import pytest

from amulet_integrations import (
    Preference,
    PreferenceProfile,
    SamplingParams,
    preference_scope,
)
from amulet_integrations.client import AmuletClient
from amulet_integrations.errors import AmuletError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.learning import read_examples
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import SqlProfileStore
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.messages import check_conversation

SECRET = "my secret illness"
URL = "mysql://ann:PASSW0RD@db/profiles"


def settings(tiny_engine, **values):
    return AmuletClient(engine=tiny_engine, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"profiles": URL, "max_tokens": 0},
        {"profiles": [URL]},
        {"preference": SECRET, "user_id": "ann"},
        {"preference": [SECRET]},
        {"preference": SECRET + "\0"},
        {"profile": SECRET},
        {"profile": {"user_id": "ann", "preferences": [SECRET, 5]}},
        {"preference": SECRET, "temperature": "warm"},
        {"prefrence": SECRET, "temperature": "warm"},
    ],
    ids=str,
)
def test_constructors_and_calls(tiny_engine, values):
    with pytest.raises(AmuletError) as caught:
        settings(tiny_engine, **values)
    told = ["".join(traceback.format_exception(caught.value, chain=True)), repr(caught.value)]
    if "profiles" not in values:
        with pytest.raises(AmuletError) as caught:
            settings(tiny_engine).read_call(values)
        told.append("".join(traceback.format_exception(caught.value)))
    for text in told:
        # The lines of this file are in a traceback too; its data is not.
        assert SECRET not in text
        assert "PASSW0RD" not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Preference(text=SECRET, weight=9),
        lambda: Preference(text=[SECRET]),
        lambda: PreferenceProfile(user_id="", preferences=[SECRET]),
        lambda: PreferenceProfile(user_id="ann", preferences=[{"text": SECRET, "weight": 9}]),
        lambda: PreferenceSelection(preference=SECRET, user_id="ann"),
        lambda: preference_scope(preference=SECRET, user_id="ann"),
        lambda: PreferenceProfile.model_validate_json(
            f'{{"user_id": 3, "preferences": "{SECRET}"}}'
        ),
    ],
)
def test_values(make):
    with pytest.raises(AmuletError) as caught:
        make()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def chain_of(error):
    """The error, and all that a tool finds by following its causes and contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def exported():
    with SqlProfileStore(":memory:") as store:
        store.save(PreferenceProfile(user_id="ann", preferences=["A"]))
        return store.export_json()


EXPORTED = exported()


def import_json(text):
    with SqlProfileStore(":memory:") as store:
        store.import_json(text)


def read_from(tmp_path, data):
    (tmp_path / "examples.jsonl").write_bytes(data)
    read_examples(tmp_path / "examples.jsonl")


@pytest.mark.parametrize(
    "do",
    [
        lambda *_: Preference(text=SECRET, weight=9),
        lambda *_: PreferenceProfile(user_id="ann", preferences=[{"text": SECRET, "weight": 9}]),
        lambda *_: PreferenceProfile(user_id="ann").model_copy(update={"preferences": [SECRET, 5]}),
        lambda *_: import_json(f'{{"profiles": "{SECRET}'),
        lambda *_: import_json(EXPORTED.replace("A", SECRET).replace("1.0", "9")),
        lambda engine, _: ChatAmulet(engine=engine, preference=SECRET, temperature="warm"),
        lambda engine, _: ChatAmulet(engine=engine).bind(preference=[SECRET]),
        lambda engine, _: ChatAmulet(engine=engine).invoke("Hi", preference=SECRET + "\0"),
        lambda engine, _: AmuletLLM(engine=engine).complete("Hi", preference=[SECRET]),
        lambda _, tmp_path: read_from(tmp_path, f'{{"question": "{SECRET}'.encode()),
        lambda _, tmp_path: read_from(tmp_path, b"\xff" + SECRET.encode()),
        lambda _, tmp_path: read_from(tmp_path, f'{{"question": ["{SECRET}"]}}'.encode()),
    ],
)
def test_no_cause_of_an_error_holds_a_private_text(tiny_engine, tmp_path, do):
    with pytest.raises(AmuletError) as caught:
        do(tiny_engine, tmp_path)
    for error in chain_of(caught.value):
        held = [str(error), repr(error), repr(vars(error)), repr(error.args)]
        held += [repr(getattr(error, name, "")) for name in ("doc", "object")]
        held += [repr(error.errors())] if hasattr(error, "errors") else []
        assert not any(SECRET in text for text in held), repr(error)


def test_the_error_of_a_long_value_is_short():
    with pytest.raises(AmuletError, match="blank") as caught:
        check_conversation([ChatMessage(role="user", content="\n" * 20_000)])
    assert len(str(caught.value)) < 200
    with pytest.raises(AmuletError, match="does not take") as caught:
        SamplingParams(**{"x" * 100_000: 1})
    assert len(str(caught.value)) < 2100
    assert "max_new_tokens" in str(caught.value)
    with pytest.raises(AmuletError, match="and 80 more") as caught:
        SamplingParams(**{f"x{number}": 1 for number in range(100)})
    assert len(str(caught.value)) < 1000


def test_messages_name_fields_and_no_branches_of_unions(tiny_engine):
    with pytest.raises(AmuletError) as caught:
        settings(tiny_engine, profiles=[3])
    assert str(caught.value).startswith("profiles is a list: ")
    assert "function-after" not in str(caught.value)
    assert "; " not in str(caught.value)
