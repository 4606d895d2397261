"""What mem0 exports: every shape of it, and what is refused. The real one is in tests/imports."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from amulet_integrations.errors import InvalidProfileError, ProfileStoreError
from amulet_integrations.profiles import InMemoryProfileStore, import_mem0
from tests.unit.profiles.importing.memory_examples import EXAMPLES, WANTED

BRIEF = {
    "id": "461fbef1",
    "memory": "Prefers short answers.",
    "hash": "a32acdea",
    "metadata": None,
    "created_at": "2026-11-30T15:37:46.468070+00:00",
    "updated_at": "2026-11-30T15:37:46.468070-08:00",
    "user_id": "ann",
}


def texts(source: Any, user_ids: list[str] | None = None) -> dict[str, list[str]]:
    store = InMemoryProfileStore()
    import_mem0(store, source, user_ids=user_ids)
    profiles = [store.get(it) for it in store.user_ids()]
    return {one.user_id: [it.text for it in one.preferences] for one in profiles}


@pytest.mark.parametrize(
    "source",
    [
        {"results": [BRIEF]},
        {"results": [BRIEF], "relations": []},
        {"count": 1, "next": None, "previous": None, "results": [BRIEF]},
        [BRIEF],
        json.dumps({"results": [BRIEF]}),
        json.dumps({"results": [BRIEF]}, indent=2),
        json.dumps([BRIEF]),
        json.dumps(BRIEF),
        "\ufeff" + json.dumps(BRIEF) + "\n\n" + json.dumps({**BRIEF, "id": "2"}),
        json.dumps({"results": [BRIEF]}) + "\n" + json.dumps({"results": [BRIEF]}),
    ],
)
def test_every_shape_of_an_export_is_read(source):
    assert texts(source) == {"ann": ["Prefers short answers."]}


def test_the_examples_become_the_profile_that_they_should():
    results = [{**BRIEF, "id": str(i), "memory": text} for i, (text, _) in enumerate(EXAMPLES)]
    assert texts({"results": results}) == {"ann": WANTED}


def test_categories_of_the_platform_say_what_a_preference_is():
    fact = {**BRIEF, "memory": "Dark mode", "categories": ["user_preferences", "technology"]}
    food = {**BRIEF, "memory": "Pizza on Fridays", "id": "2", "categories": ["food"]}
    typed = {**BRIEF, "memory": "Prose", "id": "3", "metadata": {"type": "preference"}}
    assert texts([fact, food, typed]) == {"ann": ["Dark mode", "Prose"]}


def test_a_memory_holds_through_its_last_day():
    store = InMemoryProfileStore()
    import_mem0(store, [{**BRIEF, "expiration_date": "2199-12-31"}])
    assert store.get("ann").preferences[0].valid_until == datetime(2200, 1, 1, tzinfo=UTC)


def test_memories_of_nobody_are_the_only_user_s_or_an_agent_s():
    nobodys = {name: value for name, value in BRIEF.items() if name != "user_id"}
    assert texts([nobodys], ["ben"]) == {"ben": ["Prefers short answers."]}
    store = InMemoryProfileStore()
    report = import_mem0(store, [{**nobodys, "agent_id": "planner"}])
    assert [it.reason for it in report.of("skipped")] == ["it is of no user, only of an agent_id"]
    with pytest.raises(InvalidProfileError, match=r"\[0\] names no user"):
        import_mem0(store, [nobodys])


def test_other_users_and_graphs_are_told_and_left_out():
    store = InMemoryProfileStore()
    source = {"results": [BRIEF, {**BRIEF, "user_id": "ben", "id": "2"}], "relations": [{}]}
    report = import_mem0(store, source, user_ids=["ann"])
    assert store.user_ids() == ["ann"]
    assert [(it.place, it.reason) for it in report.of("skipped")] == [
        ("results[1]", "it is of another user than those asked for"),
        ("relations", "relations of a graph are no texts; they are not imported"),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{", "It is no JSON"),
        ("", "nothing to import"),
        ("no json at all\nand more", "It is no JSON"),
        (json.dumps(BRIEF) + "\n{oops", "line 2 is no JSON"),
        (json.dumps(BRIEF) + "\n[1]", "line 2[0] is a int; expected was a memory of mem0"),
        ("17", "line 1 is a int"),
        ({"results": {"a": 1}}, "results is a dict; expected was a list"),
        ({"results": [BRIEF, 3]}, "results[1] is a int"),
        ({"results": [BRIEF], "next": "https://x/?page=2"}, "further pages"),
        ([{**BRIEF, "memory": None}], "[0]: memory is a NoneType"),
        ([{**BRIEF, "memory": " "}], "[0]: memory is blank"),
        ([{"text": "secret", "id": "1"}], "[0]: memory is missing among 'text', 'id'"),
        ([{**BRIEF, "id": 7}], "[0]: id is a int"),
        ([{**BRIEF, "user_id": 7}], "[0]: user_id is a int"),
        ([{**BRIEF, "user_id": "a\0"}], "control character"),
        ([{**BRIEF, "created_at": "yesterday"}], "[0].created_at='yesterday' is no time"),
        ([{**BRIEF, "expiration_date": 12}], "[0].expiration_date=12 is no date"),
        ([{**BRIEF, "metadata": "x"}], "[0].metadata is a str"),
        ([{**BRIEF, "categories": "x"}], "[0].categories is a str"),
        ([BRIEF, {**BRIEF, "memory": "Prefers secret answers."}], "[1] has the id of [0]"),
        (json.dumps({"format": "amulet-profiles"}), "id is missing among 'format'"),
        (7, "is a int; expected was a memory of mem0"),
    ],
)
def test_what_is_no_export_is_refused_with_its_place_and_stores_nothing(source, message):
    store = InMemoryProfileStore()
    with pytest.raises(InvalidProfileError) as error:
        import_mem0(store, source)
    assert message in str(error.value)
    assert "secret answers" not in str(error.value)
    assert store.user_ids() == []


class OldMemory:
    """As mem0 1 is called."""

    def __init__(self, count: int) -> None:
        self.items = [{**BRIEF, "id": str(number)} for number in range(count)]

    def get_all(self, *, user_id: str | None = None, limit: int = 100) -> dict[str, Any]:
        assert user_id == "ann"
        return {"results": self.items[:limit]}


def test_a_memory_of_mem0_1_is_asked_for_everything():
    report = import_mem0(InMemoryProfileStore(), OldMemory(4100), user_ids=["ann"], dry_run=True)
    assert len(report.entries) == 4100


def test_a_memory_that_fails_or_is_of_another_version_is_refused():
    class Failing:
        def get_all(self, *, user_id: str, limit: int) -> Any:
            raise RuntimeError("no connection to secret-host")

    class Newer:
        def get_all(self, everything: bool) -> Any: ...

    with pytest.raises(ProfileStoreError, match=r"Failing\.get_all failed"):
        import_mem0(InMemoryProfileStore(), Failing(), user_ids=["ann"])
    with pytest.raises(InvalidProfileError, match="get_all takes everything"):
        import_mem0(InMemoryProfileStore(), Newer(), user_ids=["ann"])
