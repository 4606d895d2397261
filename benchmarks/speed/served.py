"""Eight clients of a server, in a process of their own, beside eight calls in the engine's."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from langchain_core.runnables import RunnableConfig

from amulet_integrations import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.operations.graceful_server import GracefulServer
from amulet_integrations.serving.run import bind_sockets, make_config
from benchmarks.support.plots import Bars
from benchmarks.support.prompts import USERS
from benchmarks.support.timed_answers import NO_REUSE
from benchmarks.support.timing import FULL, SECONDS, Effort, Figure, Figures, timed_rounds

TOKENS = 64
EIGHT = USERS[:8]
NAMES = [f"user-{number}" for number in range(len(EIGHT))]
OURS = "ChatAmulet.abatch of 8"
WHOLE = "8 clients, whole answers"
STREAMS = "8 clients, streams"
_PATIENCE = 600.0  # seconds
FIRST = "first token"
WRITTEN = "tokens"
PLOTS = [Bars("Serve", "tokens/s", {name: f"{name} tokens/s" for name in (OURS, WHOLE, STREAMS)})]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Tokens per second of eight answers at once, through HTTP and in the process."""
    tokens = effort.tokens(TOKENS)
    spawn = multiprocessing.get_context("spawn")
    with (
        TemporaryDirectory() as folder,
        LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine,
        _served(engine, _saved_profiles(Path(folder))) as url,
        ProcessPoolExecutor(1, mp_context=spawn) as clients,
    ):
        rivals: dict[str, Callable[[], Mapping[str, float]]] = {
            OURS: _in_process(engine, _saved_profiles(Path(folder)), tokens),
            WHOLE: partial(_in_clients, clients, url, tokens, stream=False),
            STREAMS: partial(_in_clients, clients, url, tokens, stream=True),
        }
        measured = timed_rounds(rivals, effort.rounds)
    rates = {
        name: [count / spent for count, spent in zip(of[WRITTEN], of[SECONDS], strict=True)]
        for name, of in measured.items()
    }
    return {
        **{f"{name} tokens/s": Figure.of(values) for name, values in rates.items()},
        f"{STREAMS}, {FIRST} ms": Figure.of(1000 * s for s in measured[STREAMS][FIRST]),
        f"{WHOLE} / {OURS}": Figure.ratio(rates[WHOLE], rates[OURS]),
        f"{STREAMS} / {OURS}": Figure.ratio(rates[STREAMS], rates[OURS]),
    }


def _saved_profiles(folder: Path) -> Path:
    """A database with a profile for each user."""
    place = folder / "profiles.db"
    if not place.exists():
        with SqlProfileStore(place) as store:
            for name, (_, preference) in zip(NAMES, EIGHT, strict=True):
                preferences = (Preference(text=preference),)
                store.save(PreferenceProfile(user_id=name, preferences=preferences))
    return place


@contextmanager
def _served(engine: LocalEngine, profiles: Path) -> Iterator[str]:
    """The server that `amulet serve` runs, on a thread beside the engine."""
    app = create_app(ServerSettings(profiles=profiles), engine=engine)
    state = app.state.amulet
    sockets = bind_sockets("127.0.0.1", 0)
    server = GracefulServer(make_config(app, log_config=None), state)
    thread = threading.Thread(target=server.run, args=[sockets], daemon=True)
    thread.start()
    while not state.is_ready:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _in_process(
    engine: LocalEngine, profiles: Path, tokens: int
) -> Callable[[], Mapping[str, float]]:
    chat = ChatAmulet(engine=engine, max_tokens=tokens, profiles=profiles)
    questions = [question for question, _ in EIGHT]
    configs: list[RunnableConfig] = [{"configurable": {"user_id": name}} for name in NAMES]

    def run() -> Mapping[str, float]:
        answers = asyncio.run(chat.abatch(questions, config=configs))
        return {WRITTEN: sum(it.usage_metadata["output_tokens"] for it in answers)}

    return run


def _in_clients(clients: Executor, url: str, tokens: int, *, stream: bool) -> Mapping[str, float]:
    return clients.submit(_ask_all, url, tokens, stream=stream).result()


def _ask_all(url: str, tokens: int, *, stream: bool) -> Mapping[str, float]:
    return asyncio.run(_ask_together(url, tokens, stream=stream))


async def _ask_together(url: str, tokens: int, *, stream: bool) -> Mapping[str, float]:
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE) as client:
        ask = _stream if stream else _whole
        answers = await asyncio.gather(
            *(
                ask(client, _body(question, name, tokens))
                for name, (question, _) in zip(NAMES, EIGHT, strict=True)
            )
        )
    return {
        WRITTEN: sum(count for count, _ in answers),
        FIRST: sum(first for _, first in answers) / len(answers),
    }


def _body(question: str, user: str, tokens: int) -> dict[str, Any]:
    return {
        "model": "embedded",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "user": user,
    }


async def _whole(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, float]:
    started = time.perf_counter()
    answer = (await client.post("/v1/chat/completions", json=body)).raise_for_status()
    return answer.json()["usage"]["completion_tokens"], time.perf_counter() - started


async def _stream(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, float]:
    """Reads a stream as it comes; its usage stands in the last event but one."""
    started = time.perf_counter()
    first, last = None, ""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", "/v1/chat/completions", json={**body, **options}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if first is None:
                first = time.perf_counter() - started
            if line.startswith("data: {"):
                last = line
    usage = json.loads(last.removeprefix("data: "))["usage"]
    return usage["completion_tokens"], first or 0.0
