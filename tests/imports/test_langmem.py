"""Profiles from what LangMem's own tools and managers write into a LangGraph store."""

from __future__ import annotations

import json
from typing import Any

import langmem
import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.store.memory import InMemoryStore
from langmem.knowledge.extraction import Memory
from pydantic import BaseModel

from amulet_integrations.profiles import InMemoryProfileStore, every_memory, import_langmem
from tests.unit.profiles.importing.memory_examples import EXAMPLES, WANTED


class UserProfile(BaseModel):
    name: str
    age: int | None = None
    preferences: dict[str, str] = {}


class PreferenceMemory(BaseModel):
    category: str
    preference: str
    context: str


def texts(store: InMemoryProfileStore, user_id: str = "ann") -> list[str]:
    profile = store.get(user_id)
    return [] if profile is None else [it.text for it in profile.preferences]


def manage(memories: InMemoryStore, user_id: str = "ann", **options: Any) -> Any:
    namespace = options.pop("namespace", ("memories", "{langgraph_user_id}"))
    tool = langmem.create_manage_memory_tool(namespace, store=memories, **options)
    config = {"configurable": {"langgraph_user_id": user_id}}
    return lambda **arguments: tool.invoke(arguments, config).rpartition(" ")[2]


@pytest.fixture
def memories() -> InMemoryStore:
    return InMemoryStore()


def test_the_examples_become_the_profile_that_they_should(memories):
    remember = manage(memories)
    for text, _ in EXAMPLES:
        remember(content=text)
    store = InMemoryProfileStore()
    report = import_langmem(store, memories)
    assert texts(store) == WANTED
    assert [it.text for it in report.of("skipped")] == [t for t, wanted in EXAMPLES if not wanted]
    assert len(report.entries) == len(EXAMPLES)


def test_importing_again_changes_nothing_and_follows_what_changed(memories):
    remember = manage(memories)
    first, second = remember(content="Prefers short answers."), remember(content="Use lists.")
    store = InMemoryProfileStore()
    import_langmem(store, memories)
    again = import_langmem(store, memories)
    assert again.counts == {"unchanged": 2}
    assert store.get("ann").version == 1

    remember(id=first, content="Prefers long answers.", action="update")
    remember(id=second, action="delete")
    later = import_langmem(store, memories)
    assert later.counts == {"updated": 1, "missing": 1}
    assert later.of("missing")[0].name == f"langmem:memories#{second}"
    assert texts(store) == ["Prefers long answers.", "Use lists."]


def test_a_profile_of_a_schema_gives_a_statement_for_each_field(memories):
    remember = manage(
        memories, schema=UserProfile, namespace=("memories", "{langgraph_user_id}", "profile")
    )
    remember(content={"name": "Ann", "age": 61, "preferences": {"answer_style": "short"}})
    store = InMemoryProfileStore()
    report = import_langmem(store, memories, namespace="memories/{user_id}/profile")
    assert texts(store) == ["answer style: short"]
    assert [it.text for it in report.of("skipped")] == ["name: Ann", "age: 61"]
    assert import_langmem(
        store, memories, namespace="memories/{user_id}/profile", choose=every_memory
    ).counts == {"added": 2, "unchanged": 1}


def test_a_preference_of_a_schema_is_one_statement_with_its_context(memories):
    manage(memories, schema=PreferenceMemory)(
        content={"category": "code", "preference": "Type hints", "context": "in Python"}
    )
    store = InMemoryProfileStore()
    import_langmem(store, memories)
    assert texts(store) == ["Type hints (in Python)"]


class ScriptedChatModel(GenericFakeChatModel):
    """Calls the tools that it is told to, whichever are bound."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


def test_a_memory_manager_with_schemas_of_its_own(memories):
    record = {"category": "ui", "preference": "No pop-ups", "context": "while reading"}
    calls = [
        {"name": "PreferenceMemory", "args": record, "id": "1"},
        {"name": "Memory", "args": {"content": "User prefers dark mode."}, "id": "2"},
    ]
    model = ScriptedChatModel(messages=iter([AIMessage("", tool_calls=calls)]))
    manager = langmem.create_memory_store_manager(
        model,
        namespace=("memories", "{langgraph_user_id}"),
        store=memories,
        schemas=[PreferenceMemory, Memory],
    )
    said = [{"role": "user", "content": "Dark mode, and no pop-ups while I read!"}]
    manager.invoke({"messages": said}, {"configurable": {"langgraph_user_id": "ann"}})
    kinds = {it.value["kind"] for it in memories.search(("memories", "ann"))}
    assert kinds == {"PreferenceMemory", "Memory"}
    store = InMemoryProfileStore()
    import_langmem(store, memories)
    assert sorted(texts(store)) == ["No pop-ups (while reading)", "User prefers dark mode."]


def test_users_and_namespaces_stay_apart(memories):
    manage(memories, "ann")(content="Prefers short answers.")
    manage(memories, "ben")(content="Prefers long answers.")
    manage(memories, "ann", namespace=("memories", "{langgraph_user_id}", "work"))(
        content="Prefers tables."
    )
    manage(memories, "x", namespace=("elsewhere", "{langgraph_user_id}"))(content="I like it.")
    store = InMemoryProfileStore()
    report = import_langmem(store, memories)
    assert texts(store, "ann") == ["Prefers short answers."]
    assert texts(store, "ben") == ["Prefers long answers."]
    assert store.user_ids() == ["ann", "ben"]
    assert [(it.text, it.reason) for it in report.of("skipped")] == [
        ("Prefers tables.", "its namespace is not of the form memories/{user_id}")
    ]


def test_items_as_json_are_imported_like_the_store_itself(memories):
    remember = manage(memories)
    for text, _ in EXAMPLES:
        remember(content=text)
    items = memories.search(("memories",), limit=100)
    lines = "\n".join(json.dumps(it.dict()) for it in items)
    store = InMemoryProfileStore()
    import_langmem(store, lines)
    assert sorted(texts(store)) == sorted(WANTED)
    assert import_langmem(store, memories).changed_users == ()
    assert import_langmem(store, items).changed_users == ()
