"""Predictions: which user they follow, what handlers receive, and which errors they raise."""

from __future__ import annotations

import pytest
import wrapt
from llama_index.core import get_response_synthesizer
from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from amulet_integrations import preference_scope
from amulet_integrations.errors import (
    AmuletError,
    AnswerError,
    ContextLengthError,
    PreferenceSelectionError,
    PromptError,
    UnsupportedGrammarError,
)
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.unit.llama_index.recorders import SECRET
from tests.unit.llama_index.support import (
    ANN,
    BOB,
    QUESTION,
    engine_result,
    small_llm,
    store_of_two,
)

PROMPT = PromptTemplate("{question}")


class Sea(BaseModel):
    depth: int


class Refused(BaseModel):
    depth: int = Field(json_schema_extra={"divisibleBy": 3})


async def _apredict(llm, *args, **kwargs):
    return await llm.apredict(*args, **kwargs)


async def _predict(llm, *args, **kwargs):
    return llm.predict(*args, **kwargs)


async def _stream(llm, *args, **kwargs):
    return "".join(llm.stream(*args, **kwargs))


async def _astream(llm, *args, **kwargs):
    return "".join([text async for text in await llm.astream(*args, **kwargs)])


TEXTS = {"predict": _predict, "apredict": _apredict, "stream": _stream, "astream": _astream}
in_every_way = pytest.mark.parametrize("ask", TEXTS.values(), ids=TEXTS)


async def _structured(llm, *args, **kwargs):
    return llm.structured_predict(*args, **kwargs)


async def _astructured(llm, *args, **kwargs):
    return await llm.astructured_predict(*args, **kwargs)


async def _stream_structured(llm, *args, **kwargs):
    return list(llm.stream_structured_predict(*args, **kwargs))[-1]


async def _astream_structured(llm, *args, **kwargs):
    return [found async for found in await llm.astream_structured_predict(*args, **kwargs)][-1]


OBJECTS = {
    "predict": _structured,
    "apredict": _astructured,
    "stream": _stream_structured,
    "astream": _astream_structured,
}


@in_every_way
@pytest.mark.parametrize("named", [{"preference": ANN}, {"user_id": "ann"}], ids=["text", "user"])
async def test_a_prediction_follows_whom_the_call_names(tiny_engine, ask, named):
    llm = small_llm(tiny_engine, profiles=store_of_two())
    with preference_scope(user_id="bob"):
        assert (
            await ask(llm, PROMPT, question=QUESTION, **named)
            == engine_result(tiny_engine, ANN).text
        )


@in_every_way
async def test_a_variable_of_the_prompt_is_no_argument(tiny_engine, ask):
    prompt = PromptTemplate("{preference} {user_id}")
    answer = await ask(small_llm(tiny_engine), prompt, preference="Blue whales", user_id="ann?")
    assert answer == engine_result(tiny_engine, turns=[("user", "Blue whales ann?")]).text


@pytest.mark.parametrize("mode", ["default", "function", "llm"])
@pytest.mark.parametrize("ask", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("where", ["prompt_args", "llm_kwargs"])
async def test_no_handler_receives_the_preference_of_an_object_prediction(
    tiny_engine, watched, ask, mode, where
):
    events, spans, _ = watched
    llm = small_llm(tiny_engine, max_tokens=99, pydantic_program_mode=mode)
    named = {"preference": SECRET}
    given = named if where == "prompt_args" else {"llm_kwargs": named}
    assert isinstance(await ask(llm, Sea, PROMPT, question=QUESTION, **given), Sea)
    recorded = [repr(event) for event in events.seen] + spans.recorded
    assert len(recorded) > 4
    assert SECRET not in "".join(recorded)


@in_every_way
async def test_no_handler_receives_the_preference_of_a_text_prediction(tiny_engine, watched, ask):
    events, spans, _ = watched
    await ask(small_llm(tiny_engine), PROMPT, question=QUESTION, preference=SECRET)
    recorded = [repr(event) for event in events.seen] + spans.recorded
    assert len(recorded) > 4
    assert SECRET not in "".join(recorded)


def test_no_method_of_ours_is_in_a_span_that_records_arguments():
    ours = [kind for kind in AmuletLLM.__mro__ if kind.__module__.startswith("amulet_")]
    methods = [(kind, name, method) for kind in ours for name, method in vars(kind).items()]
    assert len(methods) > 40
    wrapped = [name for _, name, method in methods if isinstance(method, wrapt.FunctionWrapper)]
    assert not wrapped


# LlamaIndex's compact and refine take a ValueError for an answer that does not fit.
MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"]
NODES = [NodeWithScore(node=TextNode(text="The sea is blue."), score=1.0)]


@pytest.mark.parametrize(
    ("mode", "output_cls"),
    [*((mode, None) for mode in MODES), *((mode, Sea) for mode in MODES if mode[0] != "s")],
)
async def test_an_error_never_becomes_an_empty_response(tiny_engine, mode, output_cls):
    llm = small_llm(tiny_engine)
    synthesizer = get_response_synthesizer(llm=llm, response_mode=mode, output_cls=output_cls)
    with preference_scope(user_id="ann"):
        with pytest.raises(AnswerError, match="no place to look the user up") as caught:
            synthesizer.synthesize(QUESTION, NODES)
        with pytest.raises(AnswerError, match="no place to look the user up"):
            await synthesizer.asynthesize(QUESTION, NODES)
    assert isinstance(caught.value.__cause__, PreferenceSelectionError)


async def test_the_cause_is_the_original_error(tiny_engine):
    llm = small_llm(tiny_engine)
    with pytest.raises(AnswerError, match="640") as caught:
        llm.predict(PROMPT, question="sea " * 900)
    assert isinstance(caught.value.__cause__, ContextLengthError)
    with pytest.raises(AnswerError, match="divisibleBy") as caught:
        await llm.astructured_predict(Refused, PROMPT, question=QUESTION)
    assert isinstance(caught.value.__cause__, UnsupportedGrammarError)
    assert not isinstance(caught.value, ValueError | TypeError)


@in_every_way
async def test_what_is_no_prompt_is_refused(tiny_engine, ask):
    with pytest.raises(AmuletError, match="prompt is a str; give a prompt template"):
        await ask(small_llm(tiny_engine), "What is the sea?")


def test_a_prompt_is_not_changed_by_predicting_an_object_through_a_program(tiny_engine):
    llm = small_llm(tiny_engine, max_tokens=40, pydantic_program_mode="llm")
    prompt = PromptTemplate("{question}")
    assert isinstance(llm.structured_predict(Sea, prompt, question=QUESTION), Sea)
    assert prompt.output_parser is None


@pytest.mark.parametrize("ask", OBJECTS.values(), ids=OBJECTS)
async def test_a_response_format_beside_a_class_is_refused(tiny_engine, ask):
    with pytest.raises(AmuletError, match="output_cls says already"):
        await ask(small_llm(tiny_engine), Sea, PROMPT, {"response_format": Sea}, question=QUESTION)


def test_a_model_that_writes_whole_prompts_selects_in_text():
    engine = ScriptedEngine(['[{"choice": 2, "reason": "Because."}]'])
    llm = AmuletLLM(engine=engine, messages_to_prompt=lambda messages: messages[-1].content)
    selected = LLMSingleSelector.from_defaults(llm=llm).select(
        ["a sea", "a lake"], QueryBundle("?")
    )
    assert selected.inds == [1]
    assert not engine.requests[0].alternatives


REACT_OPTIONS = {
    "react_chat_formatter": ReActChatFormatter.from_defaults(),
    "output_parser": ReActOutputParser(),
}


@pytest.mark.parametrize("given", [REACT_OPTIONS, {}], ids=["options", "no options"])
@pytest.mark.parametrize("ask", ["predict_and_call", "apredict_and_call"])
async def test_a_model_that_writes_whole_prompts_calls_tools_in_text(ask, given):
    def depth(sea: str) -> str:
        """How deep a sea is."""
        return f"{sea}: 5 km"

    engine = ScriptedEngine(['Thought: I look.\nAction: depth\nAction Input: {"sea": "Red Sea"}'])
    engine.context_window = 100_000
    llm = AmuletLLM(engine=engine, messages_to_prompt=lambda messages: messages[-1].content)
    called = getattr(llm, ask)([FunctionTool.from_defaults(fn=depth)], "How deep?", **given)
    called = await called if ask == "apredict_and_call" else called
    assert called.response == "Red Sea: 5 km"


def test_a_whole_prompt_with_a_response_format_is_refused():
    with pytest.raises(PromptError, match="chat template writes the prompt"):
        AmuletLLM(engine=ScriptedEngine()).complete("a", formatted=True, response_format=Sea)


def test_bob_is_not_ann(tiny_engine):
    assert engine_result(tiny_engine, ANN).text != engine_result(tiny_engine, BOB).text
