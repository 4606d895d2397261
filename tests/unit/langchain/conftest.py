"""A store with two users, and models over the tiny engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from amulet_integrations import InMemoryProfileStore, Preference, PreferenceProfile
from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet

TASTES = {"ann": "Answer in verse, always.", "bob": "Numbers only; no words at all."}


@pytest.fixture
def store() -> InMemoryProfileStore:
    store = InMemoryProfileStore()
    for user_id, text in TASTES.items():
        store.save(PreferenceProfile(user_id=user_id, preferences=[Preference(text=text)]))
    return store


@pytest.fixture
def chat(tiny_engine: LocalEngine, store: InMemoryProfileStore) -> Callable[..., ChatAmulet]:
    def make(**settings: Any) -> ChatAmulet:
        return ChatAmulet(**{"engine": tiny_engine, "profiles": store, "max_tokens": 8, **settings})

    return make
