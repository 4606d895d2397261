"""Query engines and chat engines over a handbook, in each user's own way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core import QueryBundle, Settings, VectorStoreIndex, get_response_synthesizer
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen.llm_generators import LLMQuestionGenerator
from llama_index.core.schema import NodeWithScore
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector, PydanticMultiSelector
from llama_index.core.tools import QueryEngineTool, ToolMetadata
from pydantic import BaseModel

from amulet_integrations import preference_scope
from amulet_integrations.engine import LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from tests.integration.test_langchain_standard import STRONGER
from tests.support.library import (
    MILD,
    QUESTION,
    SHORT,
    TASTES,
    Overheard,
    library,
    settings_of,
    store_of,
)

pytestmark = pytest.mark.model

MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"]
CHOICES = [
    ToolMetadata(name="streams", description="How answers are streamed."),
    ToolMetadata(name="profiles", description="How profiles of users are kept."),
]
SHORT_REFINE = PromptTemplate("{existing_answer}\n\n{context_msg}\n\n{query_str}")


@pytest.fixture
def heard(embedded_engine: LocalEngine) -> Overheard:
    return Overheard(embedded_engine)


@pytest.fixture
def llm(heard: Overheard) -> Iterator[AmuletLLM]:
    llm = AmuletLLM(
        engine=heard, profiles=store_of(TASTES), params=MILD, max_kl=None, max_tokens=12
    )
    with settings_of(llm):
        yield llm


@pytest.fixture
def index(embedded_engine: LocalEngine) -> VectorStoreIndex:
    return library(embedded_engine)


def engine_of(index: VectorStoreIndex, llm: Any, *, chunks: int = 1, **options: Any) -> Any:
    options.setdefault("text_qa_template", SHORT)
    return index.as_query_engine(
        llm=llm,
        similarity_top_k=chunks,
        summary_template=SHORT,
        refine_template=SHORT_REFINE,
        **options,
    )


@pytest.mark.parametrize("mode", MODES)
async def test_every_response_mode_answers_the_user_of_the_scope(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex, mode: str
) -> None:
    chunks = 2 if mode in {"refine", "accumulate"} else 1
    own = {"text_qa_template": None} if mode == "compact" else {}
    scoped, anns, nobodys = (
        engine_of(index, one, chunks=chunks, response_mode=mode, **own)
        for one in (llm, llm.for_user("ann"), llm.plain())
    )
    with preference_scope(user_id="ann"):
        sync = asyncio.to_thread(scoped.query, QUESTION)
        answers = await asyncio.gather(sync, nobodys.aquery(QUESTION))
    answer, plain = map(str, answers)
    assert answer == str(await anns.aquery(QUESTION))
    assert answer != plain
    assert sorted(heard.tasted(TASTES)) == [[]] * chunks + [["ann"]] * 2 * chunks


async def test_streams_read_in_another_users_scope_speak_for_who_asked(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    engine = engine_of(index, llm, streaming=True)
    with preference_scope(user_id="ann"):
        late = engine.query(QUESTION)
        alate = await engine.aquery(QUESTION)
    with preference_scope(user_id="bob"):
        pieces = [piece async for piece in alate.response_gen]
        whole = "".join(await asyncio.to_thread(list, late.response_gen))
    anns = engine_of(index, llm.for_user("ann"))
    assert "".join(pieces) == whole == str(await anns.aquery(QUESTION))
    assert len(pieces) > 3
    assert heard.tasted(TASTES) == [["ann"]] * 3


@pytest.mark.parametrize("mode", [ChatMode.CONTEXT, ChatMode.CONDENSE_PLUS_CONTEXT])
def test_a_chat_engine_keeps_to_its_user_over_two_turns(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex, mode: ChatMode
) -> None:
    chat = index.as_chat_engine(
        chat_mode=mode,
        llm=llm,
        similarity_top_k=1,
        context_prompt="{context_str}",
        context_template="{context_str}",
        condense_prompt="{chat_history}\n\nSay the question with all words: {question}",
    )
    with preference_scope(user_id="ann"):
        first = str(chat.chat(QUESTION))
        streaming = chat.stream_chat("And when it is dropped?")
    with preference_scope(user_id="bob"):
        second = "".join(streaming.response_gen)
    condenses = mode == ChatMode.CONDENSE_PLUS_CONTEXT
    assert heard.tasted(TASTES) == [["ann"]] * (3 if condenses else 2)
    for text in heard.texts()[1:]:
        assert QUESTION in text
        assert first in text
    assert second.strip() == heard.alone(heard.requests[-1]).text.strip()
    assert second.strip() != heard.without_preferences(heard.requests[-1]).strip()
    assert [message.content for message in chat.chat_history][1::2] == [first, second]


async def test_an_async_chat_engine_streams_for_who_asked(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    chat = index.as_chat_engine(
        chat_mode=ChatMode.CONDENSE_PLUS_CONTEXT,
        llm=llm,
        similarity_top_k=1,
        context_prompt="{context_str}",
    )
    with preference_scope(user_id="ann"):
        streaming = await chat.astream_chat(QUESTION)
    with preference_scope(user_id="bob"):
        answer = "".join([piece async for piece in streaming.async_response_gen()])
    assert heard.tasted(TASTES) == [["ann"]]
    assert answer == heard.alone(heard.requests[0]).text


def tools_of(index: VectorStoreIndex, llm: AmuletLLM) -> list[QueryEngineTool]:
    engine = engine_of(index, llm)
    return [QueryEngineTool(engine, choice) for choice in CHOICES]


def routed(index: VectorStoreIndex, llm: AmuletLLM, selector: Any) -> RouterQueryEngine:
    return RouterQueryEngine.from_defaults(tools_of(index, llm), llm=llm, selector=selector)


def test_a_router_chooses_for_nobody_and_answers_its_user(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    judge = llm.plain().model_copy(update={"max_tokens": 48})
    router = routed(index, llm, LLMSingleSelector.from_defaults(llm=judge))
    with preference_scope(user_id="ann"):
        response = router.query(QUESTION)
    selection = response.metadata["selector_result"]
    assert selection.ind in {0, 1}
    assert selection.reason
    assert heard.tasted(TASTES) == [[], ["ann"]]
    assert str(response) == heard.alone(heard.requests[-1]).text
    assert str(response) != heard.without_preferences(heard.requests[-1])


@pytest.mark.acceptance
async def test_the_default_selector_chooses_the_same_for_everybody(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    judge = llm.model_copy(update={"max_tokens": 48})
    tools = tools_of(index, llm)

    async def ask(user_id: str) -> Any:
        router = RouterQueryEngine.from_defaults(tools, llm=judge)
        with preference_scope(user_id=user_id):
            return await router.aquery(QUESTION)

    ann, bob = await asyncio.gather(ask("ann"), ask("bob"))
    assert ann.metadata["selector_result"] == bob.metadata["selector_result"]
    assert str(ann) != str(bob)
    assert sorted(heard.tasted(TASTES)) == [["ann"], ["ann"], ["bob"], ["bob"]]


def test_a_multi_selector_chooses_among_the_choices(llm: AmuletLLM) -> None:
    judge = llm.plain().model_copy(update={"max_tokens": 48})
    selector = LLMMultiSelector.from_defaults(llm=judge, max_outputs=2)
    selections = selector.select(CHOICES, QUESTION).selections
    assert 1 <= len(selections) <= 2
    assert {selection.index for selection in selections} <= {0, 1}


@pytest.mark.acceptance
@pytest.mark.xfail(
    STRONGER is None,
    raises=AssertionError,
    reason="Nothing in the schema of LlamaIndex's Pydantic selectors bounds the index. Of two "
    "choices, the embedded model of 135M parameters takes three: [0, 1, 2], each for the reason "
    "'What happens when a stream is closed?'.",
)
def test_a_multi_selector_that_calls_tools_stays_among_the_choices() -> None:
    judge = AmuletLLM(model=STRONGER or "embedded", max_tokens=96)
    selections = PydanticMultiSelector.from_defaults(llm=judge).select(CHOICES, QUESTION).selections
    assert {selection.index for selection in selections} <= {0, 1}


async def test_sub_questions_name_tools_and_the_answer_follows_the_preference(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    asker = llm.plain().model_copy(update={"max_tokens": 64})
    generator = LLMQuestionGenerator.from_defaults(llm=asker)
    questions: list[Any] = []
    agenerate = generator.agenerate

    async def listened(*args: Any) -> Any:
        questions.extend(await agenerate(*args))
        return questions

    generator.agenerate = listened  # type: ignore[method-assign]
    engine = SubQuestionQueryEngine.from_defaults(
        tools_of(index, llm),
        llm=llm,
        question_gen=generator,
        response_synthesizer=get_response_synthesizer(text_qa_template=SHORT),
        verbose=False,
    )
    with preference_scope(user_id="ann"):
        response = await engine.aquery("How are streams closed, and where are profiles kept?")
    assert questions
    assert {question.tool_name for question in questions} <= {"streams", "profiles"}
    assert all(question.sub_question.strip() for question in questions)
    assert heard.tasted(TASTES) == [[], *[["ann"]] * (len(questions) + 1)]
    for question in questions:
        assert f"Sub question: {question.sub_question}" in heard.texts()[-1]
    assert str(response) == heard.alone(heard.requests[-1]).text
    assert str(response) != heard.without_preferences(heard.requests[-1])


class Fact(BaseModel):
    topic: str
    closed: bool


async def test_a_query_engine_answers_with_objects(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    longer = llm.model_copy(update={"max_tokens": 48})
    engine = engine_of(index, longer.as_structured_llm(Fact))
    with preference_scope(user_id="ann"):
        response = await engine.aquery(QUESTION)
    assert isinstance(response.response, Fact)
    assert heard.tasted(TASTES) == [["ann"]]


async def test_long_texts_are_packed_into_contexts_that_fit(
    embedded_engine: LocalEngine, index: VectorStoreIndex
) -> None:
    heard = Overheard(embedded_engine, context_window=320)
    llm = AmuletLLM(engine=heard, profiles=store_of(TASTES), params=MILD, max_kl=None, max_tokens=4)
    nodes = [node for node in index.docstore.docs.values() if node.ref_doc_id == "users"][:6]
    with settings_of(llm):
        assert Settings.prompt_helper.context_window < 200
        synthesizer = get_response_synthesizer(
            response_mode="tree_summarize", summary_template=SHORT, use_async=True
        )
        with preference_scope(user_id="ann"):
            await synthesizer.asynthesize(
                QueryBundle(QUESTION), [NodeWithScore(node=node, score=1.0) for node in nodes]
            )
    lengths = [len(ids) + 4 for request in heard.requests for ids in request.contexts]
    assert len(heard.requests) > 2
    assert max(lengths) <= 320
    assert heard.tasted(TASTES) == [["ann"]] * len(heard.requests)
    read = [" ".join(text.split()) for text in heard.texts()]
    for node in nodes:
        words = node.text.split()
        assert any(" ".join(words[-3:]) in text for text in read)


def test_the_token_counter_counts_what_the_engine_used(
    heard: Overheard, llm: AmuletLLM, index: VectorStoreIndex
) -> None:
    counter = TokenCountingHandler(tokenizer=llm.tokenizer)
    Settings.callback_manager = CallbackManager([counter])
    short = llm.model_copy(update={"max_tokens": 4})
    engine = engine_of(index, short, chunks=2, response_mode="accumulate")
    with preference_scope(user_id="ann"):
        engine.query(QUESTION)
    usages = [heard.alone(request).usage for request in heard.requests]
    assert len(usages) == 2
    assert counter.prompt_llm_token_count == sum(usage.prompt_tokens for usage in usages)
    assert counter.completion_llm_token_count == sum(usage.completion_tokens for usage in usages)


def test_the_index_finds_what_is_asked_about(index: VectorStoreIndex) -> None:
    found = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    assert "stream" in found[0].text
    assert all(one.score >= other.score for one, other in pairwise(found))
