"""Tools, agents and structured output of `ChatAmulet` on the embedded model, beside preferences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    PreferenceProfile,
    SamplingParams,
)
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from amulet_integrations.prompting import ChatMessage, PromptBuilder, Tool, ToolCall

pytestmark = pytest.mark.model

STRONG = "Answer like a pirate, in rhymes, and in capital letters."
TASTES = {"ann": "Answer like a pirate.", "bob": "Answer in Spanish."}
MILD = AmuletParams(iterations=2)
FINAL_TOKENS = 8


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"It is sunny in {city}."


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def translate(text: str, language: str) -> str:
    """Translates a text into a language."""
    return f"{text} in {language}"


class Overheard:
    """The embedded model's engine, and every request that it is given."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.model_name, self.fingerprint = engine.model_name, engine.fingerprint
        self.context_window, self.tokenizer = engine.context_window, engine.tokenizer
        self.requests: list[GenerationRequest] = []

    def stream(self, request: GenerationRequest) -> Iterator[Increment]:
        self.requests.append(request)
        return self._engine.stream(request)

    def astream(self, request: GenerationRequest) -> AsyncIterator[Increment]:
        self.requests.append(request)
        return self._engine.astream(request)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        self.requests += requests
        return self._engine.generate(requests)

    async def agenerate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        self.requests += requests
        return await self._engine.agenerate(requests)

    def score(self, *asked: Any, **options: Any) -> Any:
        return self._engine.score(*asked, **options)

    def close(self) -> None:
        pass

    def texts(self) -> list[list[str]]:
        """The contexts of every request, as text."""
        return [
            [self.tokenizer.decode(context) for context in request.contexts]
            for request in self.requests
        ]


@pytest.fixture
def engine(embedded_engine: LocalEngine) -> Overheard:
    return Overheard(embedded_engine)


@pytest.fixture
def store() -> InMemoryProfileStore:
    store = InMemoryProfileStore()
    for user_id, text in TASTES.items():
        store.save(PreferenceProfile(user_id=user_id, preferences=[text]))
    return store


def calls_of(answer: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for call in answer.tool_calls]


async def streamed(llm: Any, question: str, **call: Any) -> AIMessageChunk:
    chunks = [chunk async for chunk in llm.astream(question, **call)]
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert sum(bool(chunk.tool_call_chunks) for chunk in chunks) > 3
    return total


FORCED: list[tuple[str, list[Any], str, list[Any]]] = [
    ("What is the weather in Paris?", [get_weather], "any", [("get_weather", {"city": "Paris"})]),
    ("What is 17 plus 25?", [add, get_weather], "add", [("add", {"a": 17, "b": 25})]),
    ("Say 'good morning' in French.", [translate, add], "any", []),
]


async def test_a_preference_at_full_strength_leaves_forced_calls_as_they_are(
    embedded_engine: LocalEngine,
) -> None:
    llm = ChatAmulet(engine=embedded_engine, preset="paper", max_tokens=48)
    asked = [
        (llm.bind_tools(tools, tool_choice=choice), question)
        for question, tools, choice, _ in FORCED
    ]
    answers = await asyncio.gather(
        *(bound.ainvoke(question) for bound, question in asked),
        *(streamed(bound, question, preference=STRONG) for bound, question in asked),
    )
    plain, steered = answers[: len(FORCED)], answers[len(FORCED) :]
    for (_, _, _, expected), one, other in zip(FORCED, plain, steered, strict=True):
        assert calls_of(one) == calls_of(other)
        assert len(one.tool_calls) == 1
        assert not expected or calls_of(one) == expected
        assert one.usage_metadata["output_tokens"] == other.usage_metadata["output_tokens"]
    assert calls_of(plain[2])[0][0] == "translate"


async def test_a_preference_at_full_strength_changes_prose(embedded_engine: LocalEngine) -> None:
    llm = ChatAmulet(engine=embedded_engine, preset="paper", max_tokens=6)
    questions = [question for question, *_ in FORCED]
    # Tools that may not be called leave prose to the preference, as having none does.
    silent = llm.bind_tools([add], tool_choice="none")
    answers = await asyncio.gather(
        *(llm.ainvoke(question) for question in questions),
        *(llm.ainvoke(question, preference=STRONG) for question in questions),
        silent.ainvoke(questions[1]),
        silent.ainvoke(questions[1], preference=STRONG),
    )
    texts = [answer.text for answer in answers]
    assert all(texts)
    for plain, steered in [*zip(texts[:3], texts[3:6], strict=True), texts[6:]]:
        assert plain != steered


@dataclass
class Context:
    user_id: str


@wrap_model_call
async def call_first(request: Any, handler: Any) -> Any:
    """Makes the first turn a call, and the last one short."""
    if any(isinstance(message, ToolMessage) for message in request.messages):
        settings = {**request.model_settings, "max_tokens": FINAL_TOKENS}
        return await handler(request.override(model_settings=settings))
    return await handler(request.override(tool_choice="get_weather"))


async def test_an_agent_answers_each_user_in_the_users_own_way(
    engine: Overheard, embedded_engine: LocalEngine, store: InMemoryProfileStore
) -> None:
    agent: Any = create_agent(
        ChatAmulet(engine=engine, params=MILD, max_tokens=40),
        [get_weather],
        middleware=[PreferenceMiddleware(store, tools=False), call_first],
        context_schema=Context,
    )
    question = "What is the weather in Paris?"
    runs = [
        agent.ainvoke({"messages": [HumanMessage(question)]}, context=Context(user_id))
        for user_id in TASTES
    ]
    states = await asyncio.gather(*runs)
    for state in states:
        _, calling, result, final = state["messages"]
        assert calls_of(calling) == [("get_weather", {"city": "Paris"})]
        assert result.content == "It is sunny in Paris."
        assert isinstance(final, AIMessage)
        assert not final.tool_calls
    by_hand = [
        final_answer(text, question, state["messages"][1].tool_calls[0]["id"], embedded_engine)
        for text, state in zip(TASTES.values(), states, strict=True)
    ]
    expected = [result.text for result in await embedded_engine.agenerate(by_hand)]
    assert [state["messages"][-1].text for state in states] == expected
    assert len(set(expected)) == 2
    tasted = [
        {user_id for user_id, text in TASTES.items() if any(text in one for one in contexts)}
        for contexts in engine.texts()
    ]
    assert sorted(map(sorted, tasted)) == [["ann"], ["ann"], ["bob"], ["bob"]]
    assert not any(text in contexts[0] for contexts in engine.texts() for text in TASTES.values())


def final_answer(
    preference: str, question: str, call_id: str, engine: LocalEngine
) -> GenerationRequest:
    """What the engine is asked after a tool's result, put together by hand."""
    prompts = PromptBuilder(engine.tokenizer)
    made = ToolCall(name="get_weather", arguments={"city": "Paris"}, id=call_id)
    conversation = [
        ChatMessage(role="user", content=question),
        ChatMessage(role="assistant", content="", tool_calls=(made,)),
        ChatMessage(role="tool", content="It is sunny in Paris.", tool_call_id=call_id),
    ]
    offered = Tool(
        name="get_weather",
        description="Tells the weather in a city.",
        parameters={
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    )
    calls = prompts.tool_format.calls_grammar((offered,), parallel=True)
    return GenerationRequest(
        contexts=prompts.contexts(conversation, [None, preference], tools=[offered]),
        weights=(1.0, 0.0),
        max_kl=PRESETS["default"].max_kl,
        alternatives=(
            OutputAlternative(grammar=calls),
            OutputAlternative(
                grammar=prompts.tool_format.text_grammar(), weights=amulet_weights(MILD)
            ),
        ),
        sampling=SamplingParams(max_new_tokens=FINAL_TOKENS, min_new_tokens=1),
    )


# Strings come last, so that nothing which is none follows from what they say.
SEA: dict[str, Any] = {
    "title": "Sea",
    "type": "object",
    "properties": {
        "depth": {"type": "integer", "minimum": 1, "maximum": 12000},
        "salt": {
            "type": "object",
            "properties": {"per_mille": {"type": "integer", "minimum": 0, "maximum": 400}},
            "required": ["per_mille"],
            "additionalProperties": False,
        },
        "warm": {"type": "boolean"},
        "name": {"type": "string", "maxLength": 10},
        "told": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 1},
    },
    "required": ["depth", "salt", "warm", "name", "told"],
    "additionalProperties": False,
}


async def test_structured_output_stays_valid_and_is_steered_in_strings_alone(
    embedded_engine: LocalEngine,
) -> None:
    llm = ChatAmulet(engine=embedded_engine, preset="paper", max_tokens=64, preference=STRONG)
    ways: list[dict[str, Any]] = [
        {"method": "json_schema"},
        {"method": "json_mode"},
        {"method": "json_schema", "steer_strings": True},
        {"method": "json_mode", "steer_strings": True},
    ]
    question = "Describe the Aegean Sea as JSON."
    found = await asyncio.gather(
        *(llm.with_structured_output(SEA, **way).ainvoke(question) for way in ways)
    )
    for one in found:
        Draft202012Validator(SEA).validate(one)
    for calm, steered in zip(found[:2], found[2:], strict=True):
        assert list(calm) == list(steered) == list(SEA["properties"])
        assert {name: calm[name] for name in ("depth", "salt", "warm")} == {
            name: steered[name] for name in ("depth", "salt", "warm")
        }
        assert (calm["name"], calm["told"]) != (steered["name"], steered["told"])


async def test_a_batch_of_users_with_tools_mixes_no_preferences(
    engine: Overheard, store: InMemoryProfileStore
) -> None:
    llm = ChatAmulet(engine=engine, profiles=store, max_tokens=2).bind_tools([add])
    questions = [f"I am {user_id}." for user_id in [*TASTES, "nobody"]]
    configs: Any = [{"configurable": {"user_id": user_id}} for user_id in [*TASTES, "nobody"]]
    await llm.abatch(questions, configs)
    assert len(engine.requests) == 3
    for contexts in engine.texts():
        user_id = next(name for name in [*TASTES, "nobody"] if f"I am {name}." in contexts[0])
        own = TASTES.get(user_id)
        assert [text for text in TASTES.values() if text in "".join(contexts)] == [own][: bool(own)]
        assert len(contexts) == 1 + bool(own)
