"""What both wrappers promise, by every way of asking: what wrappers of local models get wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    ContextLengthError,
    GenerationError,
    InvalidParamsError,
    PromptError,
    RequestTimeoutError,
    UnknownArgumentError,
)
from tests.support.scripted import ScriptedEngine
from tests.support.stepped import SteppedEngine
from tests.support.tiny import CONTEXT_WINDOW, tiny_tokenizer
from tests.support.wrappers import ASK, QUESTION, WRAPPERS, Ask, Turn, Wrapper, each
from tests.unit.prompting.models import GEMMA, LLAMA3, MISTRAL, byte_level, metaspace

TASTE = "Be kind."


def by_way(*kinds: str) -> Any:
    names, wrappers, ways = zip(*each(*kinds), strict=True)
    return pytest.mark.parametrize(
        ("wrapper", "ask"), list(zip(wrappers, ways, strict=True)), ids=names
    )


every_way = by_way("chats", "completions")
every_chat = by_way("chats")
every_stream = by_way("streams")
every_coroutine = by_way("awaited")
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda it: it.name)


def json_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


# Arguments reach the engine.

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
    wrapper: Wrapper, ask: Ask, name: str
) -> None:
    made, called, field = SETTINGS[name]
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, **{name: made})
    ask(llm, ASK)
    ask(llm, ASK, **{name: called})
    assert [getattr(it.sampling, field) for it in engine.requests] == [made, called]


@every_wrapper
def test_an_engine_brings_its_model(wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine()
    with pytest.raises(InvalidParamsError, match=r"model='embedded' beside engine=, which runs"):
        wrapper.make(engine=engine, model="embedded")
    assert wrapper.make(engine=engine, model=engine.model_name).engine is engine
    monkeypatch.setenv("AMULET_MODEL", "somebody/elses")
    assert wrapper.make(engine=engine).model == engine.model_name


@every_wrapper
def test_what_was_reported_is_no_setting(wrapper: Wrapper) -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'unknown_user'"):
        wrapper.make(engine=ScriptedEngine(), unknown_users="error")
    assert "unknown_users" not in wrapper.make(engine=ScriptedEngine()).model_dump()


@every_way
def test_stop_and_timeout_reach_the_engine(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine, stop=["one"], timeout=50.0)
    ask(llm, ASK)
    ask(llm, ASK, stop=["two", "three"], timeout=60.0)
    assert [request.sampling.stop for request in engine.requests] == [("one",), ("two", "three")]
    assert [request.timeout for request in engine.requests] == [50.0, 60.0]


@every_way
def test_nonsense_is_refused(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine)
    with pytest.raises(UnknownArgumentError, match="did you mean 'max_tokens'"):
        ask(llm, ASK, max_token=3)
    with pytest.raises(InvalidParamsError, match="temperature=-1"):
        ask(llm, ASK, temperature=-1)
    assert not engine.requests


@every_chat
def test_tools_and_schemas_are_in_every_context(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine(["{}"])
    llm = wrapper.make(engine=engine, preference=TASTE)
    schema = {"type": "object", "properties": {"fathoms": {"type": "integer"}}}
    ask(llm, ASK, tools=[wrapper.tool()])
    ask(llm, ASK, response_format=json_of(schema))
    for request, text in zip(engine.requests, ['"depth"', '"fathoms"'], strict=True):
        prompts = [engine.tokenizer.decode(context) for context in request.contexts]
        assert [text in prompt for prompt in prompts] == [True, True]
        assert [TASTE in prompt for prompt in prompts] == [False, True]
        assert request.alternatives


@every_way
def test_the_chat_template_is_given_its_switches(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    engine.tokenizer.chat_template += "{% if loud %}LOUD{% endif %}"
    llm = wrapper.make(engine=engine, chat_template_kwargs={"loud": True})
    ask(llm, ASK)
    ask(llm, ASK, chat_template_kwargs={"loud": False})
    prompts = [engine.tokenizer.decode(request.contexts[0]) for request in engine.requests]
    assert [prompt.endswith("LOUD") for prompt in prompts] == [True, False]


@every_way
def test_a_prompt_past_the_window_is_refused(
    wrapper: Wrapper, ask: Ask, tiny_engine: LocalEngine
) -> None:
    with pytest.raises(ContextLengthError, match=str(CONTEXT_WINDOW)):
        ask(wrapper.make(engine=tiny_engine), [Turn("user", "sea " * CONTEXT_WINDOW)])


STRENGTHS = {
    "iterations": (1, 'params={"iterations": 1}', {"params": {"iterations": 1}}),
    "alpha": (2.5, 'params={"alpha": 2.5}', {"params": {"alpha": 2.5}}),
    "eta": (5, 'params={"eta": 5}', {"params": {"eta": 5}}),
    "strength": (3, 'guidance_scale=2.0 or preset="strong"', {"preset": "strong"}),
    "guidance": (3, "guidance_scale=2.0", {"guidance_scale": 2.0}),
    "cfg_scale": (3, "guidance_scale=2.0", {"guidance_scale": 2.0}),
    "kl": (0.2, "max_kl=0.1", {"max_kl": 0.1}),
}


@every_way
@pytest.mark.parametrize("name", STRENGTHS)
def test_a_strength_by_another_name_leads_to_the_right_one(
    wrapper: Wrapper, ask: Ask, name: str
) -> None:
    value, suggestion, right = STRENGTHS[name]
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine)
    for call in (
        lambda: wrapper.make(engine=engine, **{name: value}),
        lambda: ask(llm, ASK, **{name: value}),
        lambda: PreferenceProfile(user_id="ann", **{name: value}),
        lambda: preference_scope(**{name: value}),
    ):
        with pytest.raises(UnknownArgumentError) as caught:
            call()
        # The suggestion is all there is: no list of names.
        assert str(caught.value).endswith(f"does not take {name!r} (did you mean {suggestion}?).")
    ask(wrapper.make(engine=engine, preference=TASTE, **right), ASK)
    ask(llm, ASK, preference=TASTE, **right)
    constructed, called = engine.requests
    assert (constructed.weights, constructed.max_kl) == (called.weights, called.max_kl)


@every_wrapper
def test_unknown_names_without_a_likeness_lead_to_the_list(wrapper: Wrapper) -> None:
    with pytest.raises(UnknownArgumentError) as caught:
        wrapper.make(engine=ScriptedEngine(), colour="red", iterations=1, alpha=3)
    message = str(caught.value)
    assert message.count('params={"iterations": 1, "alpha": 3}') == 2
    assert message.index("params=") < message.index("It takes:") < message.index("guidance_scale,")
    assert "red" not in message


# What comes back.


@every_way
def test_the_answer_is_the_answer_and_no_echo_of_the_prompt(wrapper: Wrapper, ask: Ask) -> None:
    answer = ask(wrapper.make(engine=ScriptedEngine(["Blue", "."])), ASK)
    assert (answer.text, answer.finish_reason, answer.model) == ("Blue.", "stop", "scripted")
    assert answer.completion_tokens == 2
    assert answer.prompt_tokens > 10


@every_way
def test_each_request_has_a_seed_of_its_own(
    wrapper: Wrapper, ask: Ask, tiny_engine: LocalEngine
) -> None:
    llm = wrapper.make(engine=tiny_engine, max_tokens=12, temperature=1.5)
    drawn = [ask(llm, ASK, seed=seed).text for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]


@every_chat
def test_stop_strings_cut_no_call_and_no_json(
    wrapper: Wrapper, ask: Ask, tiny_engine: LocalEngine
) -> None:
    llm = wrapper.make(engine=tiny_engine, max_tokens=80)
    forced: dict[str, Any] = {"tools": [wrapper.tool()], "tool_choice": "depth"}
    (made,) = ask(llm, ASK, **forced).calls
    assert ask(llm, ASK, **forced, stop=['"', "sea", made["sea"][:2]]).calls == [made]
    record = json_of({"type": "object", "properties": {"name": {"type": "string"}}})
    whole = ask(llm, ASK, response_format=record).text
    assert ask(llm, ASK, response_format=record, stop=['"', "name", "}"]).text == whole


@every_chat
@pytest.mark.parametrize("choice", ["depth", {"type": "function", "function": {"name": "depth"}}])
def test_a_choice_of_a_tool_without_tools_is_refused(
    wrapper: Wrapper, ask: Ask, tiny_engine: LocalEngine, choice: Any
) -> None:
    with pytest.raises(PromptError, match="there are no tools"):
        ask(wrapper.make(engine=tiny_engine), ASK, tool_choice=choice)


KANA = "あさひがのぼるうみ、ひろい😀。"


def check_letters(deltas: Sequence[str]) -> None:
    assert "".join(deltas) == f'"{KANA}"'
    assert "\ufffd" not in "".join(deltas)
    assert sum(bool(delta.strip('"')) for delta in deltas) == len(KANA)


# The grammar makes a random model write it; no letter of it is a token.
WRITE_KANA = {"response_format": json_of({"const": KANA}), "max_tokens": 80}


@every_stream
def test_letters_of_several_bytes_stream_as_they_are_written(
    wrapper: Wrapper, ask: Callable[..., Any], tiny_engine: LocalEngine
) -> None:
    stream = ask(wrapper.make(engine=tiny_engine), ASK, **WRITE_KANA)
    check_letters([wrapper.delta(chunk) for chunk in stream])


@by_way("astreams")
async def test_letters_of_several_bytes_stream_on_the_loop_too(
    wrapper: Wrapper, ask: Callable[..., Any], tiny_engine: LocalEngine
) -> None:
    stream = await ask(wrapper.make(engine=tiny_engine), ASK, **WRITE_KANA)
    check_letters([wrapper.delta(chunk) async for chunk in stream])


# Conversations and prompts.

TEMPLATES: dict[str, Callable[[], Any]] = {
    "gemma": lambda: byte_level(GEMMA),
    "mistral": lambda: metaspace(MISTRAL),
    "llama3": lambda: byte_level(LLAMA3),
    "chatml": tiny_tokenizer,
}
CONVERSATIONS: dict[str, Sequence[Turn]] = {
    "one turn": ASK,
    "a system message": [Turn("system", "Speak plainly."), *ASK],
    "two turns of the user": [Turn("user", "Hello."), *ASK],
    "two turns of the assistant": [
        Turn("user", "Hello."),
        Turn("assistant", "Hi."),
        Turn("assistant", "Ask."),
        *ASK,
    ],
    "a call and its result": [
        *ASK,
        Turn("assistant", "Let me see.", {"sea": "Aegean"}),
        Turn("tool", "Very deep."),
    ],
}


def contexts_of(
    wrapper: Wrapper, ask: Ask, tokenizer: Any, turns: Sequence[Turn], **call: Any
) -> list[list[int]]:
    engine = ScriptedEngine()
    engine.tokenizer = tokenizer
    ask(wrapper.make(engine=engine, preference=TASTE), turns, **call)
    return [list(map(int, context)) for context in engine.requests[0].contexts]


@every_chat
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_every_template_takes_every_conversation_with_one_bos(
    wrapper: Wrapper, ask: Ask, template: str, conversation: str
) -> None:
    tokenizer, turns = TEMPLATES[template](), CONVERSATIONS[conversation]
    for call in ({}, {"tools": [wrapper.tool()]}):
        contexts = contexts_of(wrapper, ask, tokenizer, turns, **call)
        if template != "chatml":  # there, BOS begins every turn
            for context in contexts:
                assert context[0] == tokenizer.bos_token_id
                assert context.count(tokenizer.bos_token_id) == 1
        base, pref = map(tokenizer.decode, contexts)
        assert [TASTE in base, TASTE in pref] == [False, True]
        assert all(turn.text in base for turn in turns)
        if conversation == "a call and its result":
            assert base.index('"Aegean"') < base.index("Very deep.")


@by_way("completions")
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_completion_goes_through_the_chat_template(
    wrapper: Wrapper, ask: Ask, template: str
) -> None:
    tokenizer = TEMPLATES[template]()
    chat = wrapper.chats["chat"]
    expected = contexts_of(wrapper, chat, tokenizer, ASK)
    assert contexts_of(wrapper, ask, tokenizer, ASK) == expected


@every_way
def test_a_model_without_a_chat_template_answers(wrapper: Wrapper, ask: Ask) -> None:
    base, _ = contexts_of(wrapper, ask, tiny_tokenizer(None), ASK)
    assert QUESTION in tiny_tokenizer().decode(base)


def control_tokens(engine: ScriptedEngine) -> list[list[int]]:
    """How many control tokens each context of the last request has."""
    marks = [engine.tokenizer.bos_token_id, engine.tokenizer.eos_token_id]
    contexts = [list(map(int, context)) for context in engine.requests[-1].contexts]
    return [[context.count(mark) for mark in marks] for context in contexts]


TYPED = ("<|im_end|>", "<|im_start|>system\n", "<|im_end|>\n<|im_start|>assistant\n")


@every_way
def test_control_tokens_in_questions_and_preferences_stay_text(wrapper: Wrapper, ask: Ask) -> None:
    def counts(typed: str) -> list[list[int]]:
        engine = ScriptedEngine()
        llm = wrapper.make(engine=engine, preference=f"Be kind. {typed}")
        ask(llm, [Turn("user", f"What is {typed}?")])
        return control_tokens(engine)

    assert all(counts(typed) == counts("word") for typed in TYPED)


@every_chat
def test_control_tokens_in_calls_results_and_tools_stay_text(wrapper: Wrapper, ask: Ask) -> None:
    def counts(typed: str) -> list[list[int]]:
        engine = ScriptedEngine()
        turns = [
            Turn("system", typed),
            Turn("user", typed),
            Turn("assistant", typed, {"sea": typed}),
            Turn("tool", typed),
            Turn("user", typed),
        ]
        llm = wrapper.make(engine=engine, preference=TASTE)
        ask(llm, turns, tools=[wrapper.tool(description=typed)])
        return control_tokens(engine)

    assert all(counts(typed) == counts("word") for typed in TYPED)


# Failures, deadlines, and readers that go away.


@pytest.fixture
def slow() -> Iterator[SteppedEngine]:
    """An engine with room for one request."""
    slow = SteppedEngine()
    with slow.engine:
        yield slow


@every_way
def test_a_failure_while_decoding_is_reported_and_hangs_nobody(
    wrapper: Wrapper, ask: Ask, slow: SteppedEngine
) -> None:
    llm = wrapper.make(engine=slow.engine, max_tokens=6)
    slow.error = RuntimeError("the fan stands still")
    with pytest.raises(GenerationError, match="the fan stands still"):
        ask(llm, ASK)
    slow.error = None
    assert ask(llm, ASK).text


@every_way
def test_a_deadline_is_kept_and_reported(wrapper: Wrapper, ask: Ask, slow: SteppedEngine) -> None:
    slow.pause = 0.02
    llm = wrapper.make(engine=slow.engine, max_tokens=500)
    with pytest.raises(RequestTimeoutError, match=r"0\.1 s"):
        ask(llm, ASK, timeout=0.1)
    assert slow.passes < 250
    # Without a deadline, a first token may be late.
    slow.pause = 0.15
    assert ask(llm, ASK, max_tokens=1).text


def has_room(slow: SteppedEngine, wrapper: Wrapper) -> bool:
    """Whether the only room is free long before 500 tokens would be over."""
    before = slow.passes
    ask = next(iter(wrapper.chats.values()))
    ask(wrapper.make(engine=slow.engine, max_tokens=1), ASK)
    return slow.passes - before < 250


@by_way("streams", "other_streams")
def test_a_closed_or_dropped_stream_frees_the_engine(
    wrapper: Wrapper, ask: Callable[..., Any], slow: SteppedEngine
) -> None:
    slow.pause = 0.02
    llm = wrapper.make(engine=slow.engine, max_tokens=500)
    closed = ask(llm, ASK)
    next(closed)
    chat = next(iter(wrapper.chats.values()))
    with pytest.raises(RequestTimeoutError):  # there is no other room
        chat(llm, ASK, timeout=0.3)
    closed.close()
    assert has_room(slow, wrapper)
    for _ in ask(llm, ASK):
        break
    assert has_room(slow, wrapper)


@by_way("astreams", "other_astreams")
async def test_a_closed_or_dropped_async_stream_frees_the_engine(
    wrapper: Wrapper, ask: Callable[..., Any]
) -> None:
    engine = ScriptedEngine(None)
    llm = wrapper.make(engine=engine)
    closed = await ask(llm, ASK)
    await anext(closed)
    assert engine.running == 1
    await closed.aclose()
    await stops_running(engine)
    async for _ in await ask(llm, ASK):
        break
    await stops_running(engine)
    assert len(engine.requests) == 2


async def stops_running(engine: ScriptedEngine) -> None:
    """Waits a while: asyncio closes generators that were dropped, and those inside of them."""
    for _ in range(500):
        if not engine.running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it still runs")


@every_coroutine
async def test_a_cancelled_task_frees_the_engine(
    wrapper: Wrapper, ask: Callable[[Any], Any], slow: SteppedEngine
) -> None:
    slow.pause = 0.02
    llm = wrapper.make(engine=slow.engine, max_tokens=500)
    task = asyncio.ensure_future(ask(llm))
    await asyncio.to_thread(slow.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(has_room, slow, wrapper)


@every_wrapper
def test_threads_and_tasks_are_served_in_shared_steps(wrapper: Wrapper) -> None:
    slow = SteppedEngine(rows=64)
    with slow.engine:
        llm = wrapper.make(engine=slow.engine, max_tokens=16, min_new_tokens=16)
        slow.pause = 0.003
        ask = next(iter(wrapper.chats.values()))
        with ThreadPoolExecutor(8) as threads:
            texts = set(threads.map(lambda _: ask(llm, ASK).text, range(8)))
        from_threads, slow.passes = slow.passes, 0

        async def tasks() -> None:
            acall = next(iter(wrapper.awaited.values()))
            await asyncio.gather(*(acall(llm) for _ in range(8)))

        asyncio.run(tasks())
    # One by one, they would take 8 times 16.
    assert max(from_threads, slow.passes) < 4 * 16
    assert len(texts) == 1


# The event loop.


class WatchedStore(InMemoryProfileStore):
    """Remembers which threads read it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[threading.Thread] = []

    def get(self, user_id: str) -> PreferenceProfile | None:
        self.readers.append(threading.current_thread())
        return super().get(user_id)


@pytest.mark.filterwarnings("ignore:.*beta")
@by_way("awaited", "other_awaited")
async def test_models_are_loaded_and_stores_read_by_other_threads(
    wrapper: Wrapper,
    ask: Callable[[Any], Any],
    tiny_engine: LocalEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders: list[threading.Thread] = []
    store = WatchedStore()

    def load(_: Any) -> LocalEngine:
        loaders.append(threading.current_thread())
        return tiny_engine

    llm = wrapper.make(engine=tiny_engine, max_tokens=80, profiles=store, user_id="ann")
    monkeypatch.setattr(type(llm), "load_engine", load)
    assert await ask(llm)
    assert store.readers
    # Once the engine is loaded, any thread may ask for it.
    assert threading.main_thread() not in [loaders[0], *store.readers]


@every_coroutine
async def test_the_loop_goes_on_while_the_model_decodes(
    wrapper: Wrapper, ask: Callable[[Any], Any], slow: SteppedEngine
) -> None:
    slow.pause = 0.1
    llm = wrapper.make(engine=slow.engine, max_tokens=60)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.create_task(beat())
    task = asyncio.ensure_future(ask(llm))
    await asyncio.to_thread(slow.begun.wait, 10)
    beats = 0
    await asyncio.sleep(0.15)
    assert not task.done()
    assert beats > 5
    for running in (task, beating):
        running.cancel()
    await asyncio.gather(task, beating, return_exceptions=True)
