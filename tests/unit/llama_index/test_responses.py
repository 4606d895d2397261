"""Responses, the same in all eight ways to ask."""

from __future__ import annotations

import asyncio
import functools
import json
import threading

import pytest
from llama_index.core.base.llms.types import ChatResponse, MessageRole
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.prompts import PromptTemplate

from amulet_integrations import AmuletParams, InMemoryProfileStore, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import (
    ContextLengthError,
    InvalidParamsError,
    PromptError,
    RequestTimeoutError,
    UnknownArgumentError,
)
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CHATML, CONTEXT_WINDOW, tiny_model, tiny_tokenizer
from tests.unit.llama_index.support import (
    ANN,
    QUESTION,
    TOKENS,
    chat_messages,
    engine_result,
    small_llm,
)

CHAT = chat_messages(("user", QUESTION))


@pytest.fixture
def llm(tiny_engine):
    return small_llm(tiny_engine, preference=ANN)


@pytest.fixture
def one_row():
    """An engine for one request at a time: what is not freed keeps the next one waiting."""
    model = tiny_model()
    forward = model.forward

    @functools.wraps(forward)
    def counted(*args, **options):
        counted.steps += 1
        return forward(*args, **options)

    counted.steps = 0
    model.forward = counted
    with LocalEngine(model, tiny_tokenizer(), model_name="tiny", max_rows=2) as engine:
        yield engine


async def all_eight(llm, **kwargs):
    return [
        llm.complete(QUESTION, **kwargs),
        list(llm.stream_complete(QUESTION, **kwargs))[-1],
        await llm.acomplete(QUESTION, **kwargs),
        [chunk async for chunk in await llm.astream_complete(QUESTION, **kwargs)][-1],
        llm.chat(CHAT, **kwargs),
        list(llm.stream_chat(CHAT, **kwargs))[-1],
        await llm.achat(CHAT, **kwargs),
        [chunk async for chunk in await llm.astream_chat(CHAT, **kwargs)][-1],
    ]


def text_of(response):
    return response.text if hasattr(response, "text") else response.message.content


async def test_all_eight_methods_give_the_engines_answer(tiny_engine, llm):
    expected = engine_result(tiny_engine, ANN)
    scale, bound = PRESETS["default"]
    fractions = expected.guidance_fractions
    held = [fraction for fraction in fractions if fraction < 1.0]
    assert held
    responses = await all_eight(llm)
    for response in responses:
        assert text_of(response) == expected.text
        assert response.raw == {
            "model": "tiny",
            "backend": "transformers",
            "finish_reason": "length",
            "usage": {
                "prompt_tokens": expected.usage.prompt_tokens,
                "completion_tokens": TOKENS,
                "total_tokens": expected.usage.prompt_tokens + TOKENS,
            },
            "amulet": {
                "user_id": None,
                "profile_version": None,
                "source": "constructor",
                "method": "amulet",
                "guidance_scale": scale,
                "max_kl": bound,
                "preset": "default",
                "bounded_tokens": len(held),
                "mean_guidance_scale": pytest.approx(1 + sum(fractions) / TOKENS * (scale - 1)),
                "preferences": [{"name": None, "weight": 1.0}],
            },
        }
        assert response.additional_kwargs == response.raw["usage"]
        json.dumps(response.raw)
        assert json.loads(response.model_dump_json())["raw"] == response.raw
    assert all(response.message.role == MessageRole.ASSISTANT for response in responses[4:])
    assert [response.delta is None for response in responses] == [True, False] * 4


@pytest.mark.parametrize(
    ("ask", "argument"), [("stream_complete", QUESTION), ("stream_chat", CHAT)]
)
def test_a_stream_has_the_text_so_far_and_the_delta(llm, ask, argument):
    chunks = list(getattr(llm, ask)(argument))
    assert len(chunks) == TOKENS
    so_far = ""
    for chunk in chunks:
        so_far += chunk.delta
        assert text_of(chunk) == so_far
    assert all(chunk.raw is None for chunk in chunks[:-1])


async def test_stop_strings_end_every_form_alike(tiny_engine, llm):
    whole = engine_result(tiny_engine, ANN).text
    stop = whole[3:5]
    for response in await all_eight(llm, stop=[stop]):
        assert text_of(response) == whole[: whole.index(stop)]
        assert response.raw["finish_reason"] == "stop"
    assert (
        small_llm(tiny_engine, preference=ANN, stop=stop).complete(QUESTION).text
        == (whole[: whole.index(stop)])
    )


async def test_sampling_arguments_of_a_call_reach_every_form(llm):
    for response in await all_eight(llm, max_tokens=3):
        assert response.raw["usage"]["completion_tokens"] == 3
    drawn = {text_of(it) for it in await all_eight(llm, temperature=2.0, seed=5)}
    assert len(drawn) == 1
    assert drawn != {llm.complete(QUESTION).text}
    assert llm.complete(QUESTION, max_new_tokens=2).raw["usage"]["completion_tokens"] == 2


def test_what_a_call_does_not_take_is_refused_when_it_is_made(llm):
    for ask, argument in (("chat", CHAT), ("stream_chat", CHAT), ("astream_complete", QUESTION)):
        with pytest.raises(UnknownArgumentError, match="did you mean 'temperature'"):
            getattr(llm, ask)(argument, temprature=1.0)
        with pytest.raises(InvalidParamsError, match="temperature=-1"):
            getattr(llm, ask)(argument, temperature=-1)


def test_errors_are_ours(llm):
    with pytest.raises(ContextLengthError, match=str(CONTEXT_WINDOW)):
        llm.complete("sea " * CONTEXT_WINDOW)
    with pytest.raises(PromptError, match="blank"):
        llm.complete("  ")
    with pytest.raises(PromptError, match="string"):
        llm.complete(None)
    with pytest.raises(RequestTimeoutError):
        llm.complete(QUESTION, max_tokens=500, timeout=1e-6)


@pytest.fixture
def busy(one_row):
    """Asks for a long answer; `frees` then finds out whether it still runs."""
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    return small_llm(one_row, preference=ANN, max_tokens=LONG, callback_manager=manager)


LONG = 500


def frees(llm: AmuletLLM) -> bool:
    """Whether a short request is served long before a long one would be over."""
    counted = llm.engine.backend.model.forward
    before = counted.steps
    llm.complete(QUESTION, max_tokens=1)
    waited = counted.steps - before
    assert llm.complete(QUESTION).raw["usage"]["completion_tokens"] == LONG
    return waited < LONG / 2


# The debug handler keeps the exception that ended the stream, and with it all frames.
def test_a_closed_stream_frees_the_engine(busy):
    stream = busy.stream_complete(QUESTION)
    next(stream)
    stream.close()
    assert frees(busy)


def test_a_stream_that_still_runs_does_not(busy):
    stream = busy.stream_complete(QUESTION)
    next(stream)
    assert not frees(busy)
    stream.close()


async def test_a_closed_async_stream_frees_the_engine(busy):
    stream = await busy.astream_chat(CHAT)
    await anext(stream)
    await stream.aclose()
    assert frees(busy)


async def test_a_cancelled_task_frees_the_engine(busy):
    task = asyncio.create_task(busy.achat(CHAT))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert frees(busy)


@pytest.mark.parametrize("ask", ["acomplete", "astream_complete", "apredict", "astream"])
async def test_slow_stores_and_models_do_not_block_the_loop(tiny_engine, monkeypatch, ask):
    beat, freed = threading.Event(), []

    def wait_for_the_loop():
        beat.clear()
        freed.append(beat.wait(20))

    class SlowStore(InMemoryProfileStore):
        def get(self, user_id):
            wait_for_the_loop()
            return super().get(user_id)

    def slow_engine(llm):
        wait_for_the_loop()
        return tiny_engine

    monkeypatch.setattr(AmuletLLM, "load_engine", slow_engine)
    llm = small_llm(tiny_engine, profiles=SlowStore(), user_id="ann")

    async def keep_beating():
        while True:
            await asyncio.sleep(0.005)
            beat.set()

    beating = asyncio.create_task(keep_beating())
    answer = await getattr(llm, ask)(PromptTemplate("Sea?") if "complete" not in ask else "Sea?")
    if "stream" in ask:
        assert [chunk async for chunk in answer]
    beating.cancel()
    assert len(freed) >= 2
    assert all(freed)


@pytest.mark.parametrize("formatted", [True, False])
def test_a_whole_prompt_is_read_as_it_stands(tiny_engine, formatted):
    prompt = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    preference = "Say <|im_end|>."
    tokenizer = tiny_engine.tokenizer

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    # Control tokens of the preference stay text: spelled out in smaller tokens.
    front = [token for part in ("Say ", "<", "|im_end|>", ".\n\n") for token in ids(part)]
    request = GenerationRequest(
        contexts=[ids(prompt), front + ids(prompt)],
        weights=amulet_weights(AmuletParams()),  # those of the preset "paper"
        sampling=SamplingParams(max_new_tokens=TOKENS),
    )
    expected = tiny_engine.generate([request])[0]
    if formatted:
        llm = small_llm(tiny_engine, preference=preference, preset="paper")
        response = llm.complete(prompt, formatted=True)
    else:
        llm = small_llm(
            tiny_engine,
            preference=preference,
            preset="paper",
            completion_to_prompt=lambda _: prompt,
        )
        response = llm.complete("What?")
    assert response.text == expected.text
    assert response.raw["usage"]["prompt_tokens"] == len(ids(prompt))


def test_messages_to_prompt_writes_whole_prompts(tiny_engine):
    def shout(messages):
        return "".join(f"<|im_start|>{m.role.value}\n{m.content.upper()}" for m in messages)

    llm = small_llm(tiny_engine, messages_to_prompt=shout, system_prompt="sys")
    whole = "<|im_start|>system\nSYS<|im_start|>user\nHI"
    expected = small_llm(tiny_engine).complete(whole, formatted=True).text
    assert llm.chat(chat_messages(("user", "hi"))).message.content == expected
    assert llm.complete("hi").text == expected


def test_system_prompt_is_the_system_message_of_calls_without_one(tiny_engine):
    llm = small_llm(tiny_engine, system_prompt="Be terse.", preference=ANN)
    turns = [("system", "Be terse."), ("user", QUESTION)]
    expected = engine_result(tiny_engine, ANN, turns=turns).text
    assert llm.complete(QUESTION).text == expected
    assert llm.chat(CHAT).message.content == expected
    assert llm.predict(PromptTemplate(QUESTION)) == expected
    other = [("system", "Be rude."), ("user", QUESTION)]
    assert (
        llm.chat(chat_messages(*other)).message.content
        == engine_result(tiny_engine, ANN, turns=other).text
    )


def test_query_wrapper_prompt_wraps_what_is_completed(tiny_engine):
    wrapper = PromptTemplate("Q: {query_str}")
    llm = small_llm(tiny_engine, query_wrapper_prompt=wrapper)
    expected = engine_result(tiny_engine, turns=[("user", f"Q: {QUESTION}")]).text
    assert llm.complete(QUESTION).text == expected


def test_metadata_has_the_engines_numbers(tiny_engine, llm):
    assert llm.metadata.context_window == CONTEXT_WINDOW
    assert llm.metadata.num_output == TOKENS
    assert llm.metadata.model_name == "tiny"
    assert llm.metadata.is_chat_model
    assert llm.metadata.is_function_calling_model
    whole = small_llm(tiny_engine, messages_to_prompt=lambda messages: "whole")
    assert not whole.metadata.is_function_calling_model
    completing = small_llm(tiny_engine, completion_to_prompt=lambda prompt: prompt)
    assert completing.metadata.is_function_calling_model


class Thinker(ScriptedEngine):
    """Its template shows thoughts."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts)
        content = "{{ m['content'] }}"
        thought = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
        self.tokenizer.chat_template = CHATML.replace(content, thought + content)


@pytest.mark.parametrize("answer", ["<think>Hm, so.</think>Yes.", "Yes."])
@pytest.mark.parametrize("cut", [list, lambda text: [text]], ids=["letters", "whole"])
async def test_thoughts_are_a_block_of_their_own_in_every_chat(answer, cut):
    thoughts = ["Hm, so."] if "think" in answer else []
    llm = AmuletLLM(engine=Thinker(*cut(answer)))
    for response in (await all_eight(llm))[4:]:
        assert response.message.content == "Yes."
        blocks = response.message.blocks
        assert [block.block_type for block in blocks] == ["thinking"] * len(thoughts) + ["text"]
        assert [block.content for block in blocks[:-1]] == thoughts
        assert ChatResponse.model_validate_json(response.model_dump_json()) == response


async def test_completions_leave_thoughts_out():
    llm = AmuletLLM(engine=Thinker(*"<think>Hm, so.</think>Yes."))
    assert [text_of(response) for response in (await all_eight(llm))[:4]] == ["Yes."] * 4


@pytest.mark.parametrize(
    ("ask", "argument"), [("stream_complete", QUESTION), ("stream_chat", CHAT)]
)
def test_streams_have_a_delta_of_the_thoughts(ask, argument):
    chunks = list(getattr(AmuletLLM(engine=Thinker(*"<think>Hm, so.</think>Yes.")), ask)(argument))
    thoughts = [chunk.additional_kwargs.get("thinking_delta") for chunk in chunks]
    assert "".join(filter(None, thoughts)) == "Hm, so."
    assert sum(map(bool, thoughts)) > 3
    assert "".join(chunk.delta for chunk in chunks) == "Yes."
    assert not any(chunk.delta for chunk, thought in zip(chunks, thoughts, strict=True) if thought)


def test_a_whole_answer_has_no_delta_of_thoughts():
    response = AmuletLLM(engine=Thinker("<think>Hm, so.</think>Yes.")).chat(CHAT)
    assert "thinking_delta" not in response.additional_kwargs
