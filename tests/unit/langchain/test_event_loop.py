"""Nothing that may block happens on the event loop: no store is opened or read, no model loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations import InMemoryProfileStore, PreferenceProfile
from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from tests.support.tiny import tiny_model, tiny_tokenizer

QUESTION = "What is the sea?"


class WatchedStore(InMemoryProfileStore):
    """Remembers which threads read it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[threading.Thread] = []

    def get(self, user_id: str) -> PreferenceProfile | None:
        self.readers.append(threading.current_thread())
        return super().get(user_id)


async def _stream(llm: ChatAmulet) -> None:
    async for _ in llm.astream(QUESTION, user_id="ann"):
        pass


async def _inner_stream(llm: ChatAmulet) -> None:
    async for _ in llm._astream(llm._convert_input(QUESTION).to_messages(), user_id="ann"):
        pass


async def _events(llm: ChatAmulet) -> None:
    stream = await llm.astream_events(QUESTION, version="v3", user_id="ann")
    await stream.output


WAYS: dict[str, Callable[[ChatAmulet], Any]] = {
    "ainvoke": lambda llm: llm.ainvoke(QUESTION, user_id="ann"),
    "abatch": lambda llm: llm.abatch([QUESTION], user_id="ann"),
    "astream": _stream,
    "astream_events": _events,
    "_astream": _inner_stream,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*beta")
async def test_stores_are_opened_and_read_and_models_loaded_by_other_threads(
    way: str, tiny_engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opener = WatchedStore(), Opener()
    loader = "amulet_integrations.engine.loaded_engines.shared_engine"
    monkeypatch.setattr(loader, opener.giving(tiny_engine))
    place = "amulet_integrations.profiles.stores.opened_stores.open_profile_store"
    monkeypatch.setattr(place, opener.giving(store))
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    llm = ChatAmulet(model=str(tmp_path), profiles="profiles.db", max_tokens=3)
    await WAYS[way](llm)
    assert len(opener.seen) == 2
    assert len(store.readers) == 1
    assert threading.main_thread() not in [*opener.seen, *store.readers]


class Opener:
    """Hands out resources, and remembers which threads asked for them."""

    def __init__(self) -> None:
        self.seen: list[threading.Thread] = []

    def giving(self, resource: Any) -> Callable[..., Any]:
        def give(*_: Any, **__: Any) -> Any:
            self.seen.append(threading.current_thread())
            return resource

        return give
