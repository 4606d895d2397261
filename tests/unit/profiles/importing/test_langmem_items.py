"""What stands in LangGraph stores: every shape, pages, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore

from amulet_integrations.errors import InvalidProfileError, ProfileStoreError
from amulet_integrations.profiles import InMemoryProfileStore, every_memory, import_langmem
from tests.unit.profiles.importing.memory_examples import EXAMPLES, WANTED

ITEM = {"namespace": ["memories", "ann"], "key": "k", "value": {"content": "Prefers lists."}}


def texts(source: Any, **options: Any) -> dict[str, list[str]]:
    store = InMemoryProfileStore()
    import_langmem(store, source, **options)
    profiles = [store.get(it) for it in store.user_ids()]
    return {one.user_id: [it.text for it in one.preferences] for one in profiles}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"content": "Be brief."}, ["Be brief."]),
        ({"kind": "Memory", "content": {"content": "Be brief."}}, ["Be brief."]),
        ({"memory": "Will likes ai"}, ["Will likes ai"]),
        ({"data": "Be brief.", "score": 3}, ["Be brief."]),
        ({"content": ["Be brief.", "Use lists."]}, ["Be brief.", "Use lists."]),
        ({"kind": "P", "content": {"preference": "lists", "context": "at work"}}, ["lists (at work)"]),  # noqa: E501
        ({"content": {"subject": "Ann", "predicate": "likes", "object": "tea"}}, ["Ann likes tea"]),
        ({"content": {"name": "Ann", "preferences": {"tone": "kind"}}}, ["name: Ann", "tone: kind"]),  # noqa: E501
        ({"content": {"recent": ["Began to code today"], "age": None}}, ["Began to code today"]),
        ({"food_preference": "I like pizza"}, ["I like pizza"]),
        ({"rules": ["Be brief always", "No emojis"]}, ["Be brief always", "rules: No emojis"]),
        ({"content": {"is_vegan": True}}, ["is vegan: True"]),
    ],
)  # fmt: skip
def test_every_statement_of_an_item_is_read(value, expected):
    assert texts([{**ITEM, "value": value}], choose=every_memory) == {"ann": expected}


def _nested(depth: int) -> dict:
    value: dict = {"style": "plain"}
    for _ in range(depth):
        value = {"style": value}
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [(_nested(5000), "nested too deeply"), ({"style": 10**5000}, "is no text")],
    ids=["deep", "digits"],
)
def test_values_that_cannot_be_read_are_refused_with_their_place(value, message):
    with pytest.raises(InvalidProfileError, match=rf"^\[1\]\.value .*{message}"):
        texts([ITEM, {**ITEM, "key": "k2", "value": value}])


def test_memories_of_namespaces_that_differ_around_the_user_keep_apart():
    store = InMemoryProfileStore()
    for role, text in [("work", "Prefers lists."), ("home", "Prefers tables.")]:
        item = {**ITEM, "namespace": ["memories", f"{role}-ann"], "value": {"content": text}}
        import_langmem(store, [item], namespace=f"memories/{role}-{{user_id}}")
    assert [it.text for it in store.get("ann").preferences] == ["Prefers lists.", "Prefers tables."]


def test_a_store_of_many_pages_is_read_whole():
    memories = InMemoryStore()
    for number in range(1100):
        memories.put(("memories", f"user {number % 600:03}"), f"{number:04}", {"content": "Brief!"})
    store = InMemoryProfileStore()
    report = import_langmem(store, memories, choose=every_memory)
    assert len(report.entries) == 1100
    assert len(store.user_ids()) == 600


def test_the_examples_become_the_profile_that_they_should():
    items = [
        {**ITEM, "key": str(number), "value": {"content": text}}
        for number, (text, _) in enumerate(EXAMPLES)
    ]
    assert texts(items) == texts(json.dumps(items)) == {"ann": WANTED}


@pytest.mark.parametrize(
    ("namespace", "template", "user_id"),
    [
        (["memories", "ann"], "memories/{user_id}", "ann"),
        (["memories", "ann"], ("memories", "{langgraph_user_id}"), "ann"),
        (["ann", "memories"], "{user}/memories", "ann"),
        (["app", "user-ann", "facts"], "app/user-{id}/facts", "ann"),
        ("memories.ann", "memories/{user_id}", "ann"),
    ],
)
def test_the_user_stands_where_the_namespace_says(namespace, template, user_id):
    item = {**ITEM, "namespace": namespace}
    assert texts([item], namespace=template) == {user_id: ["Prefers lists."]}


def test_a_row_of_the_postgres_table_and_its_end():
    row = {
        "prefix": "memories.ann",
        "key": "k",
        "value": {"content": "Prefers lists."},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "expires_at": "2199-01-01T00:00:00+01:00",
    }
    store = InMemoryProfileStore()
    import_langmem(store, [row])
    assert store.get("ann").preferences[0].valid_until == datetime(2198, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{", "It is no JSON"),
        (json.dumps(ITEM) + "\n{}", "line 2 has no namespace"),
        ([ITEM, 3], "[1] is a int; expected was an item of a LangGraph store"),
        ([{**ITEM, "namespace": []}], "[0] has no namespace"),
        ([{**ITEM, "namespace": ["memories", 3]}], "[0] has no namespace"),
        ([{**ITEM, "key": ""}], "[0]: key is blank"),
        ([{**ITEM, "value": "secret"}], "[0].value is a str"),
        ([{"namespace": ["memories", "ann"], "key": "k"}], "[0] has no value"),
        ([{**ITEM, "namespace": ["elsewhere", "ann"]}], "is in the namespace 'elsewhere/ann'"),
        ([{**ITEM, "namespace": ["memories", "a\0n"]}], "control character"),
        ([{**ITEM, "created_at": "soon"}], "[0].created_at='soon' is no time"),
        ({"results": []}, "The source is a dict"),
        (7, "The source is a int"),
    ],
)
def test_what_is_no_item_is_refused_with_its_place_and_stores_nothing(source, message):
    store = InMemoryProfileStore()
    with pytest.raises(InvalidProfileError) as error:
        import_langmem(store, source)
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    assert store.user_ids() == []


@pytest.mark.parametrize("namespace", ["memories", "{a}/{b}", "", ("x", 3), 7, "m//{user}"])
def test_a_namespace_that_names_no_user_is_refused(namespace):
    with pytest.raises(InvalidProfileError, match="does not say where the user stands"):
        import_langmem(InMemoryProfileStore(), [ITEM], namespace=namespace)


def test_a_store_that_fails_is_named_and_its_secrets_are_not():
    class Failing(InMemoryStore):
        def list_namespaces(self, **options: Any) -> Any:
            raise RuntimeError("password=hunter2")

    with pytest.raises(ProfileStoreError, match=r"Failing\.list_namespaces failed") as error:
        import_langmem(InMemoryProfileStore(), Failing())
    assert "hunter2" not in str(error.value)
