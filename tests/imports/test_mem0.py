"""Profiles from a real mem0 `Memory`, on a local Qdrant."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import InMemoryProfileStore, import_mem0
from tests.unit.profiles.importing.memory_examples import EXAMPLES, WANTED


def texts(store: InMemoryProfileStore, user_id: str = "ann") -> list[str]:
    profile = store.get(user_id)
    return [] if profile is None else [it.text for it in profile.preferences]


def add(memory: Any, text: str, user_id: str = "ann", **options: Any) -> str:
    return memory.add(text, user_id=user_id, infer=False, **options)["results"][0]["id"]


def test_the_examples_become_the_profile_that_they_should(memory):
    for text, _ in EXAMPLES:
        add(memory, text)
    store = InMemoryProfileStore()
    report = import_mem0(store, memory, user_ids=["ann"])
    assert texts(store) == WANTED
    assert [it.text for it in report.of("skipped")] == [t for t, wanted in EXAMPLES if not wanted]
    assert len(report.entries) == len(EXAMPLES)


def test_importing_again_changes_nothing_and_follows_what_changed(memory):
    first, second = add(memory, "Prefers short answers."), add(memory, "Use lists.")
    store = InMemoryProfileStore()
    import_mem0(store, memory, user_ids=["ann"])
    again = import_mem0(store, memory, user_ids=["ann"])
    assert again.counts == {"unchanged": 2}
    assert again.changed_users == ()
    assert store.get("ann").version == 1

    memory.update(first, "Prefers long answers.")
    memory.delete(second)
    later = import_mem0(store, memory, user_ids=["ann"])
    assert later.counts == {"updated": 1, "missing": 1}
    assert later.of("missing")[0].name == f"mem0#{second}"
    assert texts(store) == ["Prefers long answers.", "Use lists."]


def test_more_memories_than_a_page_of_mem0_are_all_read(memory):
    for number in range(130):
        add(memory, f"The number {number} was drawn.")
    report = import_mem0(InMemoryProfileStore(), memory, user_ids=["ann"], dry_run=True)
    assert report.counts == {"skipped": 130}


def test_what_the_assistant_said_and_what_has_expired_is_skipped_and_ends_are_kept(memory):
    turns = [
        {"role": "user", "content": "I like tables."},
        {"role": "assistant", "content": "You like tables, always."},
    ]
    memory.add(turns, user_id="ann", infer=False)
    add(memory, "I am on holiday, so be brief, please. I want it.", expiration_date="2199-12-31")
    add(memory, "I want no spoilers.", expiration_date="2001-01-01")
    memory.add("I like agents.", agent_id="planner", infer=False)
    store = InMemoryProfileStore()
    report = import_mem0(store, memory, user_ids=["ann", "ben"])
    assert [it.valid_until for it in store.get("ann").preferences] == [
        None,
        datetime(2200, 1, 1, tzinfo=UTC),
    ]
    assert sorted(it.reason for it in report.of("skipped")) == [
        "it held until 2001-01-02T00:00:00+00:00",
        "the assistant said it, not the user",
    ]
    assert store.get("ben") is None


def test_users_stay_apart(memory):
    add(memory, "Prefers short answers.", "ann")
    add(memory, "Prefers long answers.", "ben")
    store = InMemoryProfileStore()
    import_mem0(store, memory, user_ids=["ann", "ben"])
    assert texts(store, "ann") == ["Prefers short answers."]
    assert texts(store, "ben") == ["Prefers long answers."]


def test_what_get_all_returned_is_imported_as_json_like_the_memory_itself(memory):
    for text, _ in EXAMPLES:
        add(memory, text)
    exported = json.dumps(memory.get_all(filters={"user_id": "ann"}, top_k=100))
    by_json, by_memory = InMemoryProfileStore(), InMemoryProfileStore()
    import_mem0(by_json, exported)
    import_mem0(by_memory, memory, user_ids=["ann"])
    assert sorted(texts(by_json)) == sorted(texts(by_memory)) == sorted(WANTED)
    assert import_mem0(by_json, memory, user_ids=["ann"]).changed_users == ()


def test_an_asynchronous_memory_and_one_without_users_are_refused(memory):
    import mem0

    with pytest.raises(InvalidProfileError, match="give user_ids"):
        import_mem0(InMemoryProfileStore(), memory)
    asynchronous = mem0.AsyncMemory.__new__(mem0.AsyncMemory)
    with pytest.raises(InvalidProfileError, match=r"await memory\.get_all"):
        import_mem0(InMemoryProfileStore(), asynchronous, user_ids=["ann"])
