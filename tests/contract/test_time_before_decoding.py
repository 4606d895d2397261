"""What a call may cost before its first token: its own time, and nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from amulet_integrations import InMemoryProfileStore, PreferenceProfile
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.engine import (
    GenerationRequest,
    LocalEngine,
    OutputAlternative,
    run_on_worker,
)
from amulet_integrations.engine.structured import grammar
from amulet_integrations.errors import RequestTimeoutError, UnsupportedGrammarError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.prompting.json_schema import finished_values
from amulet_integrations.prompting.openai_compat import schema_check
from tests.support.scripted import ScriptedEngine
from tests.support.table_backend import TableBackend
from tests.support.tiny import tiny_tokenizer
from tests.support.wrappers import ASK, QUESTION, WRAPPERS, Ask, Wrapper, collect, each

every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)


def by_way(*kinds: str) -> Any:
    names, wrappers, ways = zip(*each(*kinds), strict=True)
    return pytest.mark.parametrize(
        ("wrapper", "way"), list(zip(wrappers, ways, strict=True)), ids=names
    )


class StuckStore(InMemoryProfileStore):
    """A store that answers for everybody but mallory, until it is let go."""

    def __init__(self) -> None:
        super().__init__([PreferenceProfile(user_id="ann", preferences=["Be kind."])])
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)

    def get(self, user_id: str) -> PreferenceProfile | None:
        if user_id == "mallory":
            self.begun.release()
            assert self.go_on.wait(30)
        return super().get(user_id)


@pytest.fixture
def stuck() -> Iterator[StuckStore]:
    store = StuckStore()
    yield store
    store.go_on.set()


@by_way("chats", "completions", "checks")
def test_looking_a_user_up_takes_no_longer_than_the_timeout(
    wrapper: Wrapper, way: Callable[..., Any], stuck: StuckStore
) -> None:
    llm = wrapper.make(engine=ScriptedEngine(), profiles=stuck)
    with pytest.raises(RequestTimeoutError, match=r"0\.2 s: .* profile was looked up"):
        way(llm, ASK, user_id="mallory", timeout=0.2)
    assert not stuck.go_on.is_set()
    way(llm, ASK, user_id="ann", timeout=20)


@by_way("awaited")
async def test_no_thread_of_asyncio_is_needed(
    wrapper: Wrapper, way: Callable[..., Any], stuck: StuckStore, request: pytest.FixtureRequest
) -> None:
    """The application may have blocked them all, and never gets any blocked by us."""
    if "chain" in request.node.name:
        pytest.skip("LangChain itself runs the plain function of this chain there")
    free = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        executor.submit(free.wait, 30)
        llm = wrapper.make(engine=ScriptedEngine(), profiles=stuck, user_id="ann")
        try:
            async with asyncio.timeout(20):
                await way(llm)
        finally:
            free.set()


@every_wrapper
async def test_a_stranger_is_answered_while_a_users_calls_hang(
    wrapper: Wrapper, stuck: StuckStore
) -> None:
    llm = wrapper.make(engine=ScriptedEngine(), profiles=stuck)
    ask = _astream(wrapper)
    hostile = [asyncio.ensure_future(ask(llm, user_id="mallory")) for _ in range(60)]
    await asyncio.to_thread(stuck.begun.acquire)
    assert await ask(llm, user_id="ann")
    assert await ask(llm)
    assert not any(task.done() for task in hostile)
    for task in hostile[:30]:
        task.cancel()
    stuck.go_on.set()
    results = await asyncio.gather(*hostile, return_exceptions=True)
    assert all(isinstance(it, asyncio.CancelledError) for it in results[:30])
    assert all(results[30:])


@every_wrapper
async def test_a_stranger_does_not_wait_for_all_requests_of_a_user(wrapper: Wrapper) -> None:
    users = [PreferenceProfile(user_id=it, preferences=["Be kind."]) for it in ("ann", "mallory")]
    ended: list[str] = []
    go = threading.Event()
    busy = threading.Thread(target=run_on_worker, args=(go.wait,))

    async def ask(user_id: str) -> None:
        await _astream(wrapper)(llm, user_id=user_id)
        ended.append(user_id)

    async def waiting(count: int) -> None:
        async with asyncio.timeout(20):
            while engine.stats.waiting < count:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.01)

    with LocalEngine(TableBackend(tiny_tokenizer()), max_rows=2) as engine:
        llm = wrapper.make(engine=engine, profiles=InMemoryProfileStore(users), max_tokens=3)
        busy.start()
        try:
            crowd = [asyncio.ensure_future(ask("mallory")) for _ in range(30)]
            await waiting(30)
            stranger = asyncio.ensure_future(ask("ann"))
            await waiting(31)
        finally:
            go.set()
            await asyncio.to_thread(busy.join)
        await asyncio.gather(*crowd, stranger)
    assert ended.index("ann") <= 2


def _astream(wrapper: Wrapper) -> Callable[..., Any]:
    (opening,) = list(wrapper.astreams.values())[:1]

    async def ask(llm: Any, **call: Any) -> list[Any]:
        return await collect(await opening(llm, ASK, **call))

    return ask


@by_way("chats")
def test_compiling_a_schema_takes_no_longer_than_the_timeout(
    wrapper: Wrapper, way: Ask, tiny_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless_search(*_args: Any, **_options: Any) -> Iterator[None]:
        while True:
            yield

    monkeypatch.setattr(grammar, "steps_to_best_completion", endless_search)
    llm = wrapper.make(engine=tiny_engine, max_tokens=8)
    # Another schema each time, because what was found out once is found at once.
    schema = {"type": "integer", "minimum": id(way)}
    asked = {"type": "json_schema", "json_schema": {"name": "N", "schema": schema}}
    with pytest.raises(RequestTimeoutError, match=r"0\.2 s: .* schema or grammar was compiled"):
        way(llm, ASK, response_format=asked, timeout=0.2)
    assert way(llm, ASK).text is not None


def run_before(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, check: Callable[[], None]
) -> None:
    """Has `check` run on the thread that calls a function, before it does so."""
    function = getattr(module, name)

    def checked(*args: Any, **options: Any) -> Any:
        check()
        return function(*args, **options)

    monkeypatch.setattr(module, name, checked)


def elsewhere() -> Callable[[], None]:
    """A check that this thread, of the event loop, does not run."""
    loop = threading.get_ident()

    def check() -> None:
        assert threading.get_ident() != loop, "the loop was held up"

    return check


def wide_schema(properties: dict[str, Any]) -> dict[str, Any]:
    many = {f"field_{number}": {"type": "string"} for number in range(800)}
    return {"type": "object", "properties": {**many, **properties}}


@every_wrapper
async def test_large_schemas_are_read_beside_the_event_loop(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading begins only when the loop has gone on, which the call itself cannot wait for."""
    loop_went_on = threading.Event()

    def check() -> None:
        assert loop_went_on.wait(20), "the loop was held up"

    run_before(monkeypatch, schema_check, "enforced_schema", check)
    llm, ask = wrapper.make(engine=ScriptedEngine(["{}"])), _astream(wrapper)
    refused = wide_schema({"x": {"$ref": "#/nowhere"}})
    unique = wide_schema({"ids": {"type": "array", "uniqueItems": True}})
    strict = {"name": "N", "schema": unique, "strict": True}
    asked: list[dict[str, Any]] = [
        {"type": "json_object", "schema": wide_schema({})},
        {"type": "json_object", "schema": refused},
        {"type": "json_schema", "json_schema": strict},
    ]
    tasks = [asyncio.ensure_future(ask(llm, response_format=it)) for it in asked]
    await asyncio.sleep(0)
    loop_went_on.set()
    answered, *errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answered, list)
    assert [type(error) for error in errors] == [UnsupportedGrammarError] * 2
    with pytest.raises(UnsupportedGrammarError, match="the tool 't'"):
        await ask(llm, tools=[tool("t", refused)])


def tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": "A tool.", "parameters": parameters}
    return {"type": "function", "function": function}


def ids(number: int) -> dict[str, Any]:
    """A small schema that no grammar enforces whole."""
    of_one = {"type": "array", "uniqueItems": True, "maxItems": number + 2}
    return {"type": "object", "properties": {"ids": of_one}, "required": ["ids"]}


@by_way("chats")
@pytest.mark.parametrize("argument", ["response_format", "tools"])
def test_reading_schemas_takes_no_longer_than_the_timeout(
    wrapper: Wrapper, way: Ask, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def read_slowly(*_args: Any, **_options: Any) -> Any:
        assert go.wait(30)
        raise AssertionError("nobody waits for it any more")

    monkeypatch.setattr(schema_check, "enforced_schema", read_slowly)
    llm, wide = wrapper.make(engine=ScriptedEngine()), wide_schema({})
    asked = [tool("t", wide)] if argument == "tools" else {"type": "json_object", "schema": wide}
    try:
        with pytest.raises(RequestTimeoutError, match=r"0\.2 s: .* schemas were read"):
            way(llm, ASK, timeout=0.2, **{argument: asked})
        assert not go.is_set()
    finally:
        go.set()


@every_wrapper
async def test_users_take_turns_where_large_schemas_are_read(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    read, go, begun = schema_check.enforced_schema, threading.Event(), threading.Event()

    def noted(schema: dict[str, Any], **options: Any) -> Any:
        begun.set()
        assert go.wait(20)
        order.append(schema["title"])
        return read(schema, **options)

    async def waiting(count: int) -> None:
        async with asyncio.timeout(20):
            line = schema_check._turns._waiting
            while sum(map(len, line.values())) < count:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    monkeypatch.setattr(schema_check, "enforced_schema", noted)
    users = [PreferenceProfile(user_id=it, preferences=["Be kind."]) for it in ("ann", "mallory")]
    llm = wrapper.make(engine=ScriptedEngine(["{}"]), profiles=InMemoryProfileStore(users))

    def ask(user_id: str) -> asyncio.Task[Any]:
        schema = {**wide_schema({}), "title": user_id}
        options = {"response_format": {"type": "json_object", "schema": schema}}
        return asyncio.ensure_future(_astream(wrapper)(llm, user_id=user_id, **options))

    try:
        crowd = [ask("mallory") for _ in range(4)]
        await waiting(3)
        stranger = ask("ann")
        await waiting(4)
    finally:
        go.set()
    await asyncio.gather(*crowd, stranger)
    assert order.index("ann") <= 2


@every_wrapper
async def test_many_small_schemas_are_read_beside_the_event_loop(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_before(monkeypatch, schema_check, "enforced_schema", elsewhere())
    llm = wrapper.make(engine=ScriptedEngine(["Yes."]))
    many = [tool(f"t{number}", ids(number)) for number in range(4)]
    assert await _astream(wrapper)(llm, tools=many)
    if isinstance(llm, ChatAmulet):
        assert await llm.bind_tools(many).ainvoke(QUESTION)


@every_wrapper
async def test_finished_values_are_compared_beside_the_event_loop(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[None] = []
    run_before(monkeypatch, finished_values, "_first_fault", lambda: compared.append(None))
    run_before(monkeypatch, finished_values, "_first_fault", elsewhere())
    llm = wrapper.make(engine=ScriptedEngine(['{"ids": []}']))
    as_json = {"type": "json_object", "schema": ids(0)}
    assert await _astream(wrapper)(llm, response_format=as_json)
    asked = 1
    if isinstance(llm, ChatAmulet):
        for include_raw in (False, True):
            structured = llm.with_structured_output(
                {"title": "Ids", **ids(0)}, include_raw=include_raw
            )
            assert await structured.ainvoke(QUESTION)
            assert await collect(structured.astream(QUESTION))
            asked += 2
    assert len(compared) == asked


async def test_a_request_whose_submission_waits_ends_in_time(tiny_engine: LocalEngine) -> None:
    free = threading.Event()
    held = [REQUEST_THREADS.start(partial(free.wait, 30), "mallory") for _ in range(8)]
    request = GenerationRequest(
        contexts=[[1, 2]],
        alternatives=[OutputAlternative(grammar='start: "a"')],
        timeout=0.2,
        user_id="mallory",
    )
    try:
        with pytest.raises(RequestTimeoutError, match=r"0\.2 s"):
            async for _ in tiny_engine.astream(request):
                pass
        with pytest.raises(RequestTimeoutError, match=r"0\.2 s"):
            await tiny_engine.agenerate([request])
        left = tiny_engine.astream(request.model_copy(update={"timeout": None}))
        await left.aclose()
        assert [step async for step in left] == []
    finally:
        free.set()
    await asyncio.gather(*held)


@every_wrapper
def test_a_timeout_counts_from_the_call_and_not_from_the_reading(
    wrapper: Wrapper, tiny_engine: LocalEngine
) -> None:
    llm = wrapper.make(engine=tiny_engine, max_tokens=4)
    (opening,) = list(wrapper.streams.values())[:1]
    late = opening(llm, ASK, timeout=0.05)
    threading.Event().wait(0.1)
    with pytest.raises(RequestTimeoutError, match=r"0\.05 s"):
        list(late)


def test_each_conversation_of_one_call_has_its_time(tiny_engine: LocalEngine) -> None:
    class Slow(ChatAmulet):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            threading.Event().wait(0.9)
            return super()._generate(*args, **kwargs)

    llm = Slow(engine=tiny_engine, max_tokens=1)
    assert len(llm.generate([[HumanMessage(QUESTION)]] * 3, timeout=2.5).generations) == 3
