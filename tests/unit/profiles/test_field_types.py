"""The limit on the length of a preference, which the operator may set."""

from __future__ import annotations

import pytest
from langgraph.store.memory import InMemoryStore
from llama_index.core.storage.kvstore import SimpleKVStore

from amulet_integrations import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.errors import InvalidParamsError, InvalidProfileError
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.llama_index import KVProfileStore

VARIABLE = "AMULET_MAX_PREFERENCE_CHARS"


def test_the_limit_is_two_thousand_characters_by_default(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert len(Preference(text="x" * 2_000).text) == 2_000
    with pytest.raises(InvalidProfileError, match=r"has 2,001 characters; at most 2,000"):
        Preference(text="x" * 2_001)


@pytest.mark.parametrize(("value", "most"), [("10", 10), (" 5000 ", 5000), ("", 2000), (" ", 2000)])
def test_the_environment_sets_another_limit(monkeypatch, value, most):
    monkeypatch.setenv(VARIABLE, value)
    assert len(Preference(text="x" * most).text) == most
    with pytest.raises(InvalidProfileError, match=f"at most {most:,} are allowed"):
        Preference(text="x" * (most + 1))


def test_stored_texts_stay_readable_whatever_the_limit_is_then(monkeypatch, tmp_path):
    long = PreferenceProfile(user_id="ann", preferences=["x" * 1_500])
    with SqlProfileStore(tmp_path / "profiles.db") as sql:
        stores = [sql, KVProfileStore(SimpleKVStore()), LangGraphProfileStore(InMemoryStore())]
        for store in stores:
            store.save(long)
            for bound in ("1000", "many"):
                monkeypatch.setenv(VARIABLE, bound)
                assert store.get("ann").preferences == long.preferences
                changed = store.update("ann", lambda it: it.model_copy(update={"method": "pref"}))
                assert changed.preferences == long.preferences
            monkeypatch.delenv(VARIABLE)
        assert sql.history("ann")[0].problem is None


@pytest.mark.parametrize("value", ["0", "-5", "many", "1e3", "2.5", "²"])
def test_an_invalid_limit_is_refused_with_its_name(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InvalidParamsError, match=f"{VARIABLE}='{value}'"):
        Preference(text="Be brief.")
