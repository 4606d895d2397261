"""What comes back: the text that the engine writes, told the same on every path."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
import torch
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SamplingParams,
)
from amulet_integrations.decoding import amulet_weights, linear_alignment_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CHATML, tiny_model
from tests.unit.langchain.conftest import TASTES

Make = Callable[..., ChatAmulet]
QUESTION = "What is the sea?"


def decoded(
    engine: LocalEngine, preferences: list[str], weights: list[float], max_kl: float | None = None
) -> str:
    """What the engine writes for contexts and weights put together by hand."""
    contexts = PromptBuilder(engine.tokenizer).contexts(
        [ChatMessage(role="user", content=QUESTION)], [None, *preferences]
    )
    sampling = SamplingParams(max_new_tokens=8)
    request = GenerationRequest(
        contexts=contexts, weights=weights, max_kl=max_kl, sampling=sampling
    )
    return engine.generate([request])[0].text


def test_one_preference_is_decoded_with_amulets_weights(
    chat: Make, tiny_engine: LocalEngine
) -> None:
    params = AmuletParams(iterations=2)
    weights = list(amulet_weights(params))
    expected = decoded(tiny_engine, [TASTES["ann"]], weights)
    assert chat(params=params, max_kl=None).invoke(QUESTION, user_id="ann").text == expected
    call: dict[str, Any] = {"params": params, "max_kl": None}
    assert chat().invoke(QUESTION, user_id="ann", **call).text == expected
    bounded = decoded(tiny_engine, [TASTES["ann"]], weights, PRESETS["default"].max_kl)
    assert chat(params=params).invoke(QUESTION, user_id="ann").text == bounded != expected


@pytest.mark.parametrize(
    ("method", "weights"),
    [("pref", [0.0, 1.0]), ("linear_alignment", list(linear_alignment_weights(2.0)))],
)
def test_the_other_methods_are_other_weights(
    chat: Make, tiny_engine: LocalEngine, method: Any, weights: list[float]
) -> None:
    expected = decoded(tiny_engine, [TASTES["ann"]], weights)
    assert chat(max_kl=None).invoke(QUESTION, user_id="ann", method=method).text == expected
    assert chat(max_kl=None, method=method).invoke(QUESTION, user_id="ann").text == expected
    bounded = decoded(tiny_engine, [TASTES["ann"]], weights, PRESETS["default"].max_kl)
    assert chat(method=method).invoke(QUESTION, user_id="ann").text == bounded
    assert (bounded == expected) == (method == "pref")


def test_weighted_preferences_have_contexts_of_their_own(
    chat: Make, tiny_engine: LocalEngine, store: InMemoryProfileStore
) -> None:
    texts, p = ["Be brief.", "Use long words."], AmuletParams(iterations=2).guidance_scale
    preferences = [
        Preference(text=text, weight=weight)
        for text, weight in zip(texts, (1.0, -0.6), strict=True)
    ]
    store.save(PreferenceProfile(user_id="cid", preferences=preferences))
    weights = [1.0 / 1.6, -0.6 / 1.6]
    expected = decoded(tiny_engine, texts, [1 - p * sum(weights), *(p * w for w in weights)])
    llm = chat(params=AmuletParams(iterations=2), max_kl=None)
    answer = llm.invoke(QUESTION, user_id="cid")
    assert answer.text == expected
    told = answer.response_metadata["amulet"]
    assert told["guidance_scale"] == p
    assert [preference["weight"] for preference in told["preferences"]] == [1.0, -0.6]


def test_nobody_and_the_unknown_are_decoded_plainly(chat: Make, tiny_engine: LocalEngine) -> None:
    expected = decoded(tiny_engine, [], [1.0])
    assert chat().invoke(QUESTION).text == expected
    stranger = chat().invoke(QUESTION, user_id="stranger")
    assert stranger.text == expected
    assert stranger.response_metadata["amulet"]["method"] == "base"
    assert chat().invoke(QUESTION, user_id="ann", method="base").text == expected


def facts(message: BaseMessage) -> tuple[Any, ...]:
    assert isinstance(message, AIMessage)
    return message.text, message.usage_metadata, message.response_metadata


def merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


@pytest.mark.parametrize("limit", [1, 8, 40])
async def test_every_path_tells_the_same(chat: Make, limit: int) -> None:
    llm = chat(max_tokens=limit, user_id="ann")
    expected = facts(llm.invoke(QUESTION))
    assert facts(await llm.ainvoke(QUESTION)) == expected
    assert facts(merged(list(llm.stream(QUESTION)))) == expected
    assert facts(merged([chunk async for chunk in llm.astream(QUESTION)])) == expected
    assert facts(llm.batch([QUESTION])[0]) == expected
    assert facts((await llm.abatch([QUESTION]))[0]) == expected
    assert facts(chat(max_tokens=limit, user_id="ann", streaming=True).invoke(QUESTION)) == expected


def test_the_answer_counts_its_tokens_and_says_why_it_ended(chat: Make) -> None:
    answer = chat(max_tokens=5).invoke(QUESTION)
    usage = answer.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == 5
    assert usage["total_tokens"] == usage["input_tokens"] + 5
    assert answer.response_metadata["finish_reason"] == "length"
    assert answer.response_metadata["model_name"] == "tiny"


def test_the_last_chunk_and_no_other_tells_the_facts() -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["Well", "", ", yes", ""]))
    chunks = list(llm.stream(QUESTION))
    assert [chunk.text for chunk in chunks] == ["Well", ", yes", ""]
    assert [chunk.chunk_position for chunk in chunks] == [None, None, "last"]
    assert [bool(chunk.usage_metadata) for chunk in chunks] == [False, False, True]
    assert chunks[-1].response_metadata["finish_reason"] == "stop"


class Shortening(ScriptedEngine):
    """Says in its last step that the tokens ran out."""

    def _steps(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        for step in super()._steps(request):
            yield replace(step, shortened=step.usage is not None)


async def test_an_answer_that_was_closed_early_says_so_on_every_path() -> None:
    llm = ChatAmulet(engine=Shortening(['{"sea": ', '"Aeg"}']))
    chunks = list(llm.stream(QUESTION))
    assert ["shortened" in chunk.response_metadata for chunk in chunks] == [False, True]
    assert merged(chunks).response_metadata["shortened"] is True
    assert llm.invoke(QUESTION).response_metadata["shortened"] is True
    assert (await llm.ainvoke(QUESTION)).response_metadata["shortened"] is True


def test_an_answer_that_was_not_closed_early_says_nothing_of_it() -> None:
    answer = ChatAmulet(engine=ScriptedEngine()).invoke(QUESTION)
    assert "shortened" not in answer.response_metadata


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_kwargs: Any) -> None:
        self.tokens.append(token)


class AsyncTokens(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: str, **_kwargs: Any) -> None:
        self.tokens.append(token)


async def test_streamed_tokens_are_told_to_callbacks() -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["Well", ", yes", "."]))
    heard, aheard, silent = Tokens(), AsyncTokens(), Tokens()
    list(llm.stream(QUESTION, {"callbacks": [heard]}))
    async for _ in llm.astream(QUESTION, {"callbacks": [aheard]}):
        pass
    llm.invoke(QUESTION, {"callbacks": [silent]})
    assert heard.tokens == aheard.tokens == ["Well", ", yes", "."]
    assert silent.tokens == []


async def _stopped_texts(llm: ChatAmulet, **call: Any) -> list[str]:
    return [
        llm.invoke(QUESTION, **call).text,
        "".join(chunk.text for chunk in llm.stream(QUESTION, **call)),
        (await llm.ainvoke(QUESTION, **call)).text,
        "".join([chunk.text async for chunk in llm.astream(QUESTION, **call)]),
        llm.bind(**call).invoke(QUESTION).text,
        llm.batch([QUESTION], **call)[0].text,
    ]


async def test_stop_strings_end_the_answer_on_every_path(chat: Make) -> None:
    whole = chat(max_tokens=30).invoke(QUESTION).text
    # Two characters, told apart by where they first appear.
    stop, other = list(dict.fromkeys(whole.replace("\ufffd", "")))[2:5:2]
    until = whole[: whole.index(stop)]
    assert set(await _stopped_texts(chat(max_tokens=30), stop=[stop])) == {until}
    assert set(await _stopped_texts(chat(max_tokens=30, stop=stop))) == {until}
    constructed = chat(max_tokens=30, stop=[stop])
    assert set(await _stopped_texts(constructed, stop=[other])) == {whole[: whole.index(other)]}
    assert set(await _stopped_texts(constructed, stop=[])) == {whole}


async def test_sampling_at_the_call_goes_before_the_constructor(chat: Make) -> None:
    llm = chat(temperature=1.5, seed=3, max_tokens=12)
    sampled = llm.invoke(QUESTION).text
    assert llm.invoke(QUESTION).text == sampled
    assert llm.invoke(QUESTION, seed=4).text != sampled
    assert (await llm.ainvoke(QUESTION, temperature=0.0)).text == chat(max_tokens=12).invoke(
        QUESTION
    ).text
    assert llm.invoke(QUESTION, max_new_tokens=2).usage_metadata["output_tokens"] == 2  # type: ignore[index]


@pytest.fixture
def endless() -> ScriptedEngine:
    return ScriptedEngine(None)


def test_a_closed_stream_frees_the_engine(endless: ScriptedEngine) -> None:
    stream = ChatAmulet(engine=endless).stream(QUESTION)
    next(stream)
    assert endless.running == 1
    stream.close()  # type: ignore[attr-defined]
    assert endless.running == 0


def test_a_dropped_stream_frees_the_engine(endless: ScriptedEngine) -> None:
    stream = ChatAmulet(engine=endless).stream(QUESTION)
    next(stream)
    del stream
    assert endless.running == 0


async def test_a_closed_async_stream_frees_the_engine(endless: ScriptedEngine) -> None:
    stream: Any = ChatAmulet(engine=endless).astream(QUESTION)
    await anext(stream)
    assert endless.running == 1
    await stream.aclose()
    await _until(lambda: endless.running == 0)


@pytest.mark.parametrize("way", ["ainvoke", "abatch", "agenerate"])
async def test_a_cancelled_task_frees_the_engine(endless: ScriptedEngine, way: str) -> None:
    llm = ChatAmulet(engine=endless)
    asked = {
        "ainvoke": lambda: llm.ainvoke(QUESTION),
        "abatch": lambda: llm.abatch([QUESTION]),
        "agenerate": lambda: llm.agenerate([llm._convert_input(QUESTION).to_messages()]),
    }
    task = asyncio.ensure_future(asked[way]())
    await _until(lambda: endless.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: endless.running == 0)


async def _until(reached: Callable[[], bool]) -> None:
    # Threads take a moment, and the event loop closes dropped generators in tasks of its own.
    for _ in range(1000):
        if reached():
            break
        await asyncio.sleep(0.001)
    assert reached()


def test_a_stream_may_leave_the_usage_out(chat: Make) -> None:
    for llm, call in [(chat(stream_usage=False), {}), (chat(), {"stream_usage": False})]:
        assert merged(list(llm.stream(QUESTION, **call))).usage_metadata is None
        assert llm.invoke(QUESTION, **call).usage_metadata is not None


def test_an_answer_is_never_empty(chat: Make) -> None:
    assert chat().sampling.min_new_tokens == 1
    engine = ScriptedEngine()
    ChatAmulet(engine=engine).invoke(QUESTION, min_new_tokens=3)
    assert engine.requests[-1].sampling.min_new_tokens == 3


def told_logprobs(message: BaseMessage) -> list[dict[str, Any]]:
    return message.response_metadata["logprobs"]["content"]


async def test_logprobs_are_those_of_the_mixture_on_every_path(
    chat: Make, tiny_engine: LocalEngine
) -> None:
    llm = chat(user_id="ann", params=AmuletParams(iterations=2), max_kl=None)
    asked = {"logprobs": True, "top_logprobs": 2}
    llm.invoke(QUESTION)  # a kept prompt and one that is read anew round differently
    answer = llm.invoke(QUESTION, **asked)
    told = told_logprobs(answer)
    assert answer.usage_metadata is not None
    assert len(told) == answer.usage_metadata["output_tokens"]
    for token in told:
        assert bytes(token["bytes"] or b"").decode() in {token["token"], ""}
        first, second = token["top_logprobs"]
        assert token["logprob"] == first["logprob"] >= second["logprob"]  # greedy
        assert token["token"] == first["token"]
    assert told_logprobs(merged(list(llm.stream(QUESTION, **asked)))) == told
    assert told_logprobs(await llm.ainvoke(QUESTION, **asked)) == told

    messages = [ChatMessage(role="user", content=QUESTION)]
    contexts = PromptBuilder(tiny_engine.tokenizer).contexts(messages, [None, TASTES["ann"]])
    weights = amulet_weights(AmuletParams(iterations=2))
    sampling = SamplingParams(max_new_tokens=8, min_new_tokens=1)
    request = GenerationRequest(contexts=contexts, weights=weights, sampling=sampling)
    ids = tiny_engine.generate([request])[0].token_ids
    model = tiny_model()
    for place, (token_id, token) in enumerate(zip(ids, told, strict=True)):
        mixed = torch.zeros(1)
        for context, weight in zip(contexts, weights, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*context, *ids[:place]]])).logits[0, -1].double()
            mixed = mixed + weight * logits.log_softmax(-1)
        assert token["logprob"] == pytest.approx(mixed.log_softmax(-1)[token_id].item(), abs=1e-3)


def test_logprobs_are_told_only_where_asked_for(chat: Make) -> None:
    assert "logprobs" not in chat().invoke(QUESTION).response_metadata
    alone = told_logprobs(chat().invoke(QUESTION, logprobs=True))
    assert {len(token["top_logprobs"]) for token in alone} == {0}


class Thinker(ScriptedEngine):
    """Its template shows thoughts."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(texts)
        said = "{{ m['content'] }}"
        thought = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
        self.tokenizer.chat_template = CHATML.replace(said, thought + said)


@pytest.mark.parametrize("version", [None, "v1"])
async def test_thoughts_are_told_apart_from_the_answer(version: Any) -> None:
    llm = ChatAmulet(engine=Thinker(list("<think>Hm, so.</think>Yes.")), output_version=version)
    answers = [
        llm.invoke(QUESTION),
        await llm.ainvoke(QUESTION),
        merged(list(llm.stream(QUESTION))),
        merged([chunk async for chunk in llm.astream(QUESTION)]),
    ]
    for answer in answers:
        assert answer.text == "Yes."
        assert answer.additional_kwargs["reasoning_content"] == "Hm, so."
        assert [(block["type"]) for block in answer.content_blocks] == ["reasoning", "text"]
        assert answer.content_blocks[0]["reasoning"] == "Hm, so."  # type: ignore[typeddict-item]


@pytest.mark.parametrize("version", [None, "v1"])
def test_text_is_one_block_in_either_output_version(version: Any) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(["Well", ", ", "yes."]), output_version=version)
    for answer in (llm.invoke(QUESTION), merged(list(llm.stream(QUESTION)))):
        (block,) = answer.content_blocks
        assert block["type"] == "text"
        assert block["text"] == "Well, yes."
        assert isinstance(answer.content, list) == (version == "v1")


CALL = '<tool_call>\n{"name": "depth", "arguments": {"sea": "%s"}}\n</tool_call>'
WRITTEN = {
    "text": ["We", "ll."],
    "nothing": [""],
    "thoughts": ["<think>Hm", ", so.</think>", "Yes."],
    "a call": [CALL % "Red"],
    "calls and text": ["<think>Hm.</think>", "Well\n", CALL % "Red", "And", CALL % "Black", "so."],
    "a call cut short": ["Well\n", CALL[:50]],
    "an unknown tool": [CALL.replace("depth", "height") % "Red", "so."],
}


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("form", WRITTEN)
async def test_whole_answers_have_the_shape_of_streams(form: str, version: str) -> None:
    llm = ChatAmulet(engine=Thinker(WRITTEN[form]), output_version=version)
    bound = llm.bind_tools([{"name": "depth", "parameters": {"properties": {"sea": {}}}}])
    in_chunks = [chunk async for chunk in bound.astream(QUESTION)]
    answers: list[Any] = [
        bound.invoke(QUESTION),
        await bound.ainvoke(QUESTION),
        bound.batch([QUESTION])[0],
        message_chunk_to_message(merged(list(bound.stream(QUESTION)))),
        message_chunk_to_message(merged(in_chunks)),
    ]

    def shape(message: AIMessage) -> str:
        told = [message.content, message.content_blocks, message.tool_calls, message.text]
        return re.sub("call_[0-9a-f]{24}", "ID", json.dumps(told, sort_keys=True))

    assert len(set(map(shape, answers))) == 1
    said = [it for it in answers[0].content_blocks if it["type"] in ("text", "reasoning")]
    assert [it.get("index") is not None for it in said] == [version == "v1"] * len(said)


class Counter:
    """A rate limiter that lets everything pass."""

    acquired = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_the_rate_limiter_is_asked_before_each_answer() -> None:
    from langchain_core.rate_limiters import BaseRateLimiter

    limiter: Any = type("Limiter", (Counter, BaseRateLimiter), {})()
    llm = ChatAmulet(engine=ScriptedEngine(), rate_limiter=limiter)
    llm.invoke(QUESTION)
    list(llm.stream(QUESTION))
    await llm.ainvoke(QUESTION)
    assert limiter.acquired == 3
