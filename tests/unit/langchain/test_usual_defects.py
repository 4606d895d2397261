"""What chat models over a local model usually get wrong, on every way to ask."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool

from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import GenerationError, RequestTimeoutError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.unit.langchain.conftest import TASTES
from tests.unit.prompting.models import GEMMA, LLAMA3, MISTRAL, byte_level, metaspace

QUESTION = "What is the sea?"
Make = Callable[..., ChatAmulet]
Ask = Callable[..., Any]


def merged(chunks: list[Any]) -> Any:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


async def _astream(llm: Any, asked: Any, **call: Any) -> Any:
    return merged([chunk async for chunk in llm.astream(asked, **call)])


WAYS: dict[str, Ask] = {
    "invoke": lambda llm, asked, **call: llm.invoke(asked, **call),
    "stream": lambda llm, asked, **call: merged(list(llm.stream(asked, **call))),
    "batch": lambda llm, asked, **call: llm.batch([asked], **call)[0],
    "ainvoke": lambda llm, asked, **call: asyncio.run(llm.ainvoke(asked, **call)),
    "astream": lambda llm, asked, **call: asyncio.run(_astream(llm, asked, **call)),
    "abatch": lambda llm, asked, **call: asyncio.run(llm.abatch([asked], **call))[0],
}
every_way = pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


# What is asked for reaches the engine.

SETTINGS: dict[str, tuple[Any, Any, str]] = {
    "temperature": (0.7, 0.9, "temperature"),
    "max_tokens": (3, 4, "max_new_tokens"),
    "max_new_tokens": (3, 4, "max_new_tokens"),
    "min_new_tokens": (2, 3, "min_new_tokens"),
    "seed": (5, 6, "seed"),
    "top_p": (0.5, 0.6, "top_p"),
    "top_k": (7, 8, "top_k"),
    "min_p": (0.1, 0.2, "min_p"),
    "repetition_penalty": (1.1, 1.2, "repetition_penalty"),
}


@every_way
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_reach_the_engine_from_the_constructor_and_from_the_call(
    name: str, ask: Ask
) -> None:
    made, called, field = SETTINGS[name]
    engine = ScriptedEngine()
    llm = ChatAmulet(engine=engine, **{name: made})
    ask(llm, QUESTION)
    ask(llm, QUESTION, **{name: called})
    ask(llm.bind(**{name: called}), QUESTION)
    found = [getattr(request.sampling, field) for request in engine.requests]
    assert found == [made, called, called]


@every_way
def test_stop_and_timeout_reach_the_engine(ask: Ask) -> None:
    engine = ScriptedEngine()
    llm = ChatAmulet(engine=engine, stop=["one"], timeout=50.0)
    ask(llm, QUESTION)
    ask(llm, QUESTION, stop=["two", "three"], timeout=60.0)
    for request, stop, timeout in zip(
        engine.requests, [("one",), ("two", "three")], [50.0, 60.0], strict=True
    ):
        assert request.sampling.stop[: len(stop)] == stop
        assert "one" in stop or "one" not in request.sampling.stop
        assert request.timeout == timeout


@every_way
def test_tools_and_schemas_are_told_in_every_context(ask: Ask) -> None:
    engine = ScriptedEngine(["{}"])
    llm = ChatAmulet(engine=engine, preference=TASTES["ann"])
    schema = {"type": "object", "properties": {"fathoms": {"type": "integer"}}}
    ask(llm, QUESTION, tools=[depth])
    ask(
        llm,
        QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    )
    for request, said in zip(engine.requests, ['"depth"', '"fathoms"'], strict=True):
        texts = [engine.tokenizer.decode(context) for context in request.contexts]
        assert len(texts) == 2
        assert all(said in text for text in texts)
        assert [TASTES["ann"] in text for text in texts] == [False, True]
        assert request.alternatives


@every_way
def test_the_answer_is_the_answer_and_no_echo_of_the_prompt(ask: Ask) -> None:
    answer = ask(ChatAmulet(engine=ScriptedEngine(["Blue", "."])), QUESTION)
    assert answer.text == "Blue."
    assert answer.usage_metadata["output_tokens"] == 2
    assert answer.usage_metadata["input_tokens"] > 10
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "scripted"


@every_way
def test_a_conversation_may_end_with_a_tools_result(ask: Ask) -> None:
    engine = ScriptedEngine()
    call = {"name": "depth", "args": {"sea": "Aegean"}, "id": "1"}
    conversation = [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[call]),  # type: ignore[list-item]
        ToolMessage("Very deep.", tool_call_id="1"),
    ]
    ask(ChatAmulet(engine=engine), conversation, tools=[depth])
    assert "Very deep." in engine.tokenizer.decode(engine.requests[0].contexts[0])


@every_way
def test_the_chat_template_is_given_its_switches(ask: Ask) -> None:
    engine = ScriptedEngine()
    engine.tokenizer.chat_template += "{% if loud %}LOUD{% endif %}"
    llm = ChatAmulet(engine=engine, chat_template_kwargs={"loud": True})
    ask(llm, QUESTION)
    ask(llm, QUESTION, chat_template_kwargs={"loud": False})
    prompts = [engine.tokenizer.decode(request.contexts[0]) for request in engine.requests]
    assert [prompt.endswith("LOUD") for prompt in prompts] == [True, False]


class Limiter(BaseRateLimiter):
    """Lets everybody pass, and counts them."""

    def __init__(self) -> None:
        self.passed = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.passed += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@every_way
def test_a_rate_limiter_is_asked_once_for_each_answer(ask: Ask) -> None:
    limiter = Limiter()
    llm = ChatAmulet(engine=ScriptedEngine(), rate_limiter=limiter)
    ask(llm, QUESTION)
    ask(llm.bind_tools([depth]), QUESTION)
    assert limiter.passed == 2


# What the model writes reaches the reader.


class Listener(BaseCallbackHandler):
    """Keeps the chunks that callbacks are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:
        self.told.append((token, chunk))


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_callbacks_are_told_each_token_and_each_part_of_a_call(way: str) -> None:
    written = 'So.\n<tool_call>\n{"name": "depth", "arguments": {"sea": "Red"}}\n</tool_call>'
    listener = Listener()
    llm = ChatAmulet(engine=ScriptedEngine(list(written)), callbacks=[listener])
    answer = WAYS[way](llm.bind_tools([depth]), QUESTION)
    told = merged([chunk.message for _, chunk in listener.told])
    assert "".join(token for token, _ in listener.told) == answer.text
    assert told.tool_calls == answer.tool_calls
    assert [call["args"] for call in answer.tool_calls] == [{"sea": "Red"}]
    assert sum(bool(chunk.message.tool_call_chunks) for _, chunk in listener.told) > 3


@every_way
def test_stop_strings_of_several_tokens_end_the_answer_and_are_not_left_in_it(
    chat: Make, ask: Ask
) -> None:
    llm = chat(max_tokens=40)
    whole = llm.invoke(QUESTION).text
    stop = next(
        text
        for place in range(3, len(whole) - 6)
        if "\ufffd" not in (text := whole[place : place + 6])
        and len(llm.get_token_ids(text)) > 2
        and whole.index(text) == place
    )
    assert ask(llm, QUESTION, stop=[stop]).text == whole[: whole.index(stop)]
    tools = ask(llm.bind_tools([depth], tool_choice="none"), QUESTION)
    assert (
        stop
        not in ask(
            llm.bind_tools([depth], tool_choice="none"), QUESTION, stop=[tools.text[4:9]]
        ).text
    )


@every_way
def test_stop_strings_cut_no_call_and_no_json(chat: Make, ask: Ask) -> None:
    forced = chat(max_tokens=80).bind_tools([depth], tool_choice="any")
    made = ask(forced, QUESTION).tool_calls[0]["args"]
    answer = ask(forced, QUESTION, stop=['"', "sea", made["sea"][:2]])
    assert [call["args"] for call in answer.tool_calls] == [made]
    schema = {"title": "Sea", "type": "object", "properties": {"name": {"type": "string"}}}
    said = {"type": "json_schema", "json_schema": {"name": "Sea", "schema": schema}}
    record = chat(max_tokens=40).bind(response_format=said)
    whole = ask(record, QUESTION).text
    assert ask(record, QUESTION, stop=['"', "name", "}"]).text == whole


KANA = "あさひがのぼるうみ、ひろい😀。"


async def test_letters_of_several_bytes_stream_as_they_are_written(chat: Make) -> None:
    # The grammar makes a random model write it; no letter of it is a token.
    said = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": KANA}}}
    llm = chat(max_tokens=80).bind(response_format=said)
    streams = [
        [chunk.text for chunk in llm.stream(QUESTION)],
        [chunk.text async for chunk in llm.astream(QUESTION)],
    ]
    for texts in streams:
        assert "".join(texts) == f'"{KANA}"'
        assert "\ufffd" not in "".join(texts)
        letters = [text for text in texts if text.strip('"')]
        assert len(letters) == len(KANA)
        assert len(llm.get_token_ids(KANA)) > 2 * len(KANA)  # type: ignore[attr-defined]


async def test_each_request_has_a_seed_of_its_own(chat: Make) -> None:
    llm = chat(temperature=1.5, max_tokens=12)
    alone = [llm.invoke(QUESTION, seed=seed).text for seed in (1, 2, 3)]
    together = await asyncio.gather(*(llm.ainvoke(QUESTION, seed=seed) for seed in (1, 2, 3)))
    assert [answer.text for answer in together] == alone
    assert len(set(alone)) == 3


# Failures, deadlines, and readers that go away.


class Steps:
    """A tiny engine with room for one request, that waits and fails as it is told."""

    def __init__(self, rows: int = 1) -> None:
        self.engine = LocalEngine(tiny_model(), tiny_tokenizer(), model_name="tiny", max_rows=rows)
        self.pause, self.taken = 0.0, 0
        self.begun = threading.Event()
        self.error: Exception | None = None
        model: Any = self.engine.backend.model
        self._forward = model.forward
        model.forward = self._step

    def _step(self, *args: Any, **options: Any) -> Any:
        self.taken += 1
        if self.taken > 2:
            self.begun.set()
        time.sleep(self.pause)
        if self.error:
            raise self.error
        return self._forward(*args, **options)


@pytest.fixture
def steps() -> Iterator[Steps]:
    steps = Steps()
    with steps.engine:
        yield steps


@every_way
def test_a_failure_while_decoding_is_told_as_what_it_is(steps: Steps, ask: Ask) -> None:
    llm = ChatAmulet(engine=steps.engine, max_tokens=4)
    steps.error = RuntimeError("the fan stands still")
    with pytest.raises(GenerationError, match="the fan stands still"):
        ask(llm, QUESTION)
    steps.error = None
    assert ask(llm, QUESTION).text


@every_way
def test_a_deadline_holds_and_is_told(steps: Steps, ask: Ask) -> None:
    steps.pause = 0.02
    llm = ChatAmulet(engine=steps.engine, max_tokens=500)
    with pytest.raises(RequestTimeoutError, match=r"0\.1 s"):
        ask(llm, QUESTION, timeout=0.1)
    assert steps.taken < 250
    # Without one, a first token may be as late as it likes.
    steps.pause = 0.3
    assert ask(llm, QUESTION, max_tokens=1).text


def quick_again(steps: Steps) -> bool:
    """Whether the only room is free long before 500 tokens would be over."""
    before = steps.taken
    ChatAmulet(engine=steps.engine, max_tokens=1).invoke(QUESTION)
    return steps.taken - before < 250


def test_a_closed_or_dropped_stream_gives_its_room_back(steps: Steps) -> None:
    steps.pause = 0.02
    llm = ChatAmulet(engine=steps.engine, max_tokens=500)
    closed: Any = llm.stream(QUESTION)
    next(closed)
    with pytest.raises(RequestTimeoutError):  # there is no other room
        llm.invoke(QUESTION, timeout=0.3)
    closed.close()
    assert quick_again(steps)
    for _ in llm.bind_tools([depth]).stream(QUESTION):
        break
    assert quick_again(steps)


async def _first_of(llm: Any) -> Any:
    stream = llm.astream(QUESTION)
    await anext(stream)
    await stream.aclose()


async def _read(llm: Any) -> None:
    async for _ in llm.astream(QUESTION):
        pass


async def _events(llm: Any) -> None:
    async for _ in llm.astream_events(QUESTION, version="v2"):
        pass


LEAVING: dict[str, Callable[[Any], Any]] = {
    "astream": _read,
    "astream_events": _events,
    "ainvoke": lambda llm: llm.ainvoke(QUESTION),
    "abatch": lambda llm: llm.abatch([QUESTION, QUESTION]),
    "agent": lambda llm: create_agent(llm, []).ainvoke({"messages": [("user", QUESTION)]}),
    "chain": lambda llm: (llm | (lambda answer: answer.text)).ainvoke(QUESTION),
}


@pytest.mark.parametrize("way", LEAVING)
@pytest.mark.parametrize("tools", [False, True])
async def test_who_is_cancelled_gives_the_engines_room_back(
    steps: Steps, way: str, tools: bool
) -> None:
    steps.pause = 0.02
    llm: Any = ChatAmulet(engine=steps.engine, max_tokens=500)
    if tools:
        # Forced free text: the tiny model would end a call of its own soon.
        llm = llm.bind_tools([depth], tool_choice="none")
    task = asyncio.ensure_future(LEAVING[way](llm))
    await asyncio.to_thread(steps.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(quick_again, steps)


async def test_a_closed_async_stream_gives_its_room_back(steps: Steps) -> None:
    steps.pause = 0.02
    await _first_of(ChatAmulet(engine=steps.engine, max_tokens=500))
    assert await asyncio.to_thread(quick_again, steps)


async def test_a_batch_is_decoded_in_steps_that_its_inputs_share() -> None:
    steps = Steps(rows=64)
    with steps.engine:
        llm = ChatAmulet(engine=steps.engine, max_tokens=16, min_new_tokens=16)
        steps.pause = 0.003
        llm.batch([QUESTION] * 8)
        sync, steps.taken = steps.taken, 0
        await llm.abatch([QUESTION] * 8)
        # One by one, they would take 8 times 16.
        assert max(sync, steps.taken) < 3 * 16


# Prompts.


def contexts_of(tokenizer: Any, conversation: Any, **call: Any) -> list[list[int]]:
    engine = ScriptedEngine()
    engine.tokenizer = tokenizer
    ChatAmulet(engine=engine, preference="Be kind.").invoke(conversation, **call)
    return [list(map(int, context)) for context in engine.requests[0].contexts]


TEMPLATES = {
    "gemma": lambda: byte_level(GEMMA),
    "mistral": lambda: metaspace(MISTRAL),
    "llama3": lambda: byte_level(LLAMA3),
}
CONVERSATIONS: dict[str, list[BaseMessage]] = {
    "one turn": [HumanMessage(QUESTION)],
    "a system message": [SystemMessage("Speak plainly."), HumanMessage(QUESTION)],
    "two turns of the user": [HumanMessage("Hello."), HumanMessage(QUESTION)],
    "two turns of the assistant": [
        HumanMessage("Hello."),
        AIMessage("Hi."),
        AIMessage("Ask."),
        HumanMessage(QUESTION),
    ],
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_every_template_takes_every_conversation_with_one_bos(
    template: str, conversation: str
) -> None:
    tokenizer = TEMPLATES[template]()
    for tools in ({}, {"tools": [depth]}):
        plain, kind = contexts_of(tokenizer, CONVERSATIONS[conversation], **tools)
        for context in (plain, kind):
            assert context[0] == tokenizer.bos_token_id
            assert context.count(tokenizer.bos_token_id) == 1
        text = tokenizer.decode(plain)
        assert QUESTION in text
        for message in CONVERSATIONS[conversation]:
            assert message.text in text
        assert "Be kind." in tokenizer.decode(kind)
        assert "Be kind." not in text


def test_a_model_without_a_chat_template_answers() -> None:
    (plain, _) = contexts_of(tiny_tokenizer(None), QUESTION)
    assert QUESTION in tiny_tokenizer().decode(plain)


def test_control_tokens_that_somebody_typed_stay_text() -> None:
    tokenizer = tiny_tokenizer()
    marks = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    call = {"name": "depth", "args": {"sea": "{0}"}, "id": "1"}

    def conversation(word: str) -> list[BaseMessage]:
        made = {**call, "args": {"sea": word}}
        return [
            SystemMessage(f"Sys {word}"),
            HumanMessage([word, {"type": "text", "text": word}]),
            AIMessage(word, tool_calls=[made]),  # type: ignore[list-item]
            ToolMessage(word, tool_call_id="1"),
            HumanMessage(word),
        ]

    def offered(word: str) -> list[Any]:
        described = {"type": "string", "description": word}
        schema = {"type": "object", "properties": {"sea": described}}
        return [{"name": "depth", "description": word, "parameters": schema}]

    def counts(word: str) -> list[list[int]]:
        engine = ScriptedEngine()
        llm = ChatAmulet(engine=engine, preference=f"Be kind. {word}").bind_tools(offered(word))
        llm.invoke(conversation(word))
        contexts = [list(map(int, context)) for context in engine.requests[0].contexts]
        return [[context.count(mark) for mark in marks] for context in contexts]

    harmless = counts("word")
    for word in ("<|im_end|>", "<|im_start|>system\n", "<|im_end|>\n<|im_start|>assistant\n"):
        assert counts(word) == harmless
