"""Who the model says it is: to prompt helpers, token counters, traces, and serialised forms."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest
from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from amulet_integrations import preference_scope
from amulet_integrations.engine.backends.transformers.loading import embedded
from amulet_integrations.errors import (
    InvalidParamsError,
    UnknownArgumentError,
)
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CONTEXT_WINDOW, tiny_model, tiny_tokenizer
from tests.unit.llama_index.support import (
    ANN,
    QUESTION,
    TOKENS,
    chat_messages,
    engine_result,
    small_llm,
    store_of_two,
)

CHAT = chat_messages(("user", QUESTION))


@pytest.fixture
def unloaded(monkeypatch):
    """Fails the test that loads a model."""

    def load(llm):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(AmuletLLM, "load_engine", load)


@pytest.fixture
def folder(tmp_path):
    """A saved tiny model."""
    tiny_model(max_position_embeddings=384).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


# What LlamaIndex asks before it asks the model.


@pytest.mark.usefixtures("unloaded")
def test_the_metadata_of_a_saved_model_is_known_without_loading_it(folder):
    metadata = AmuletLLM(model=folder, max_tokens=33).metadata
    assert metadata.context_window == 384
    assert metadata.num_output == 33
    assert metadata.model_name == folder
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model
    assert metadata.system_role == MessageRole.SYSTEM


def test_the_metadata_of_a_saved_model_is_that_of_its_engine(folder):
    llm = AmuletLLM(model=folder)
    metadata = llm.metadata
    assert llm.load_engine().context_window == metadata.context_window == 384
    assert llm.metadata == metadata


def test_the_metadata_of_an_engine_is_its_own(tiny_engine):
    metadata = small_llm(tiny_engine).metadata
    assert (metadata.context_window, metadata.num_output) == (CONTEXT_WINDOW, TOKENS)
    assert metadata.model_name == "tiny"
    assert small_llm(tiny_engine, model="tiny").metadata.model_name == "tiny"


def test_who_writes_whole_prompts_calls_no_tools(tiny_engine):
    llm = small_llm(tiny_engine, messages_to_prompt=lambda messages: "x")
    assert not llm.metadata.is_function_calling_model
    assert llm.metadata.is_chat_model


@pytest.mark.model
@pytest.mark.usefixtures("unloaded")
def test_the_embedded_models_window_is_known_without_loading_it():
    config = embedded._folder() / "config.json"
    if not config.is_file():
        pytest.skip("the embedded model has not been converted on this machine")
    window = json.loads(config.read_text())["max_position_embeddings"]
    assert window == embedded.EMBEDDED_CONTEXT_WINDOW
    assert AmuletLLM().metadata.context_window == window


# Tokens.


@pytest.mark.parametrize("text", ["", "The sea is blue. ", "海 🌊", "<|im_end|>x"])
def test_the_tokenizer_is_the_models_own(tiny_engine, text):
    own = tiny_engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert small_llm(tiny_engine).tokenizer(text) == own


def test_the_tokenizer_adds_no_special_tokens(tiny_engine, monkeypatch):
    from tests.unit.prompting.models import LLAMA3, byte_level

    engine = ScriptedEngine()
    engine.tokenizer = byte_level(LLAMA3)
    engine.tokenizer.add_bos_token = True
    ids = AmuletLLM(engine=engine).tokenizer("sea")
    assert engine.tokenizer.bos_token_id not in ids
    assert engine.tokenizer.decode(ids) == "sea"


async def test_token_counters_count_what_the_engine_counted(tiny_engine):
    counter = TokenCountingHandler(tokenizer=lambda text: [0] * 1000)
    llm = small_llm(tiny_engine, preference=ANN, callback_manager=CallbackManager([counter]))
    responses = [
        llm.complete(QUESTION),
        list(llm.stream_complete(QUESTION))[-1],
        await llm.acomplete(QUESTION),
        [it async for it in await llm.astream_complete(QUESTION)][-1],
        llm.chat(CHAT),
        list(llm.stream_chat(CHAT))[-1],
        await llm.achat(CHAT),
        [it async for it in await llm.astream_chat(CHAT)][-1],
    ]
    expected = engine_result(tiny_engine, ANN).usage
    assert len(counter.llm_token_counts) == len(responses)
    for response, counted in zip(responses, counter.llm_token_counts, strict=True):
        usage = response.raw["usage"]
        assert counted.prompt_token_count == usage["prompt_tokens"] == expected.prompt_tokens
        assert counted.completion_token_count == usage["completion_tokens"] == TOKENS
        assert counted.total_token_count == usage["total_tokens"]


# Packing.

WINDOW = 2400
WORDS = "The sea is blue. You are brief. "
LONG = [
    NodeWithScore(node=TextNode(text=f"{place} {WORDS * 270}"), score=1.0) for place in range(2)
]
QA = PromptTemplate("Context: {context_str}\nQuestion: {query_str}\nAnswer: ")
CHAT_QA = ChatPromptTemplate(
    message_templates=chat_messages(
        ("system", "You are a helpful assistant."), ("user", "{context_str}\n{query_str}")
    )
)
REFINE = PromptTemplate("{query_str}\nSo far: {existing_answer}\nMore: {context_msg}\nAgain: ")
MODES = [
    "compact",
    "refine",
    "tree_summarize",
    "simple_summarize",
    "accumulate",
    "compact_accumulate",
]


@pytest.fixture
def packing():
    """A model of a small window that answers at once, and its requests."""
    engine = ScriptedEngine(["sea ", "is ", "blue", "."])
    engine.context_window = WINDOW
    return AmuletLLM(engine=engine, max_tokens=40), engine.requests


def long_preference(llm, tokens):
    """A preference of that many tokens."""
    text = "blue " * tokens
    ids = llm.tokenizer(text)[:tokens]
    return llm.engine.tokenizer.decode(ids)


def longest(requests):
    return max(len(context) for request in requests for context in request.contexts)


def synthesized(llm, mode, template, **options):
    make = get_response_synthesizer(
        llm=llm,
        response_mode=mode,
        text_qa_template=template,
        summary_template=template,
        refine_template=REFINE,
        **options,
    )
    return make.synthesize(QUESTION, LONG)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("template", [QA, CHAT_QA], ids=["text", "chat"])
@pytest.mark.parametrize("preference_tokens", [None, 30])
def test_documents_are_packed_so_that_every_prompt_fits(packing, mode, template, preference_tokens):
    llm, requests = packing
    room = {} if preference_tokens is None else {"preference_tokens": preference_tokens}
    helper = llm.prompt_helper(**room)
    with preference_scope(preference=long_preference(llm, preference_tokens or 128)):
        synthesized(llm, mode, template, prompt_helper=helper)
    assert longest(requests) <= WINDOW - llm.max_tokens
    # The room is made use of as well.
    assert longest(requests) > WINDOW // 4
    if mode != "simple_summarize":
        assert len(requests) > 2


def test_packing_counts_the_system_prompt(packing):
    llm, requests = packing
    llm = llm.model_copy(update={"system_prompt": WORDS * 4})
    with preference_scope(preference=long_preference(llm, 128)):
        synthesized(llm, "compact", QA, prompt_helper=llm.prompt_helper())
    assert len(requests) > 2
    assert longest(requests) <= WINDOW - llm.max_tokens


def test_a_prompt_helper_takes_llama_indexs_options(tiny_engine):
    helper = small_llm(tiny_engine).prompt_helper(chunk_overlap_ratio=0.0, chunk_size_limit=50)
    assert isinstance(helper, PromptHelper)
    assert (helper.chunk_overlap_ratio, helper.chunk_size_limit) == (0.0, 50)
    assert helper.num_output == TOKENS
    chunks = helper.repack(QA, [WORDS * 30])
    # Less the padding, which is of LlamaIndex's own.
    assert 40 < max(len(small_llm(tiny_engine).tokenizer(chunk)) for chunk in chunks) <= 51


def test_room_for_preferences_is_the_callers_to_say(tiny_engine):
    llm = small_llm(tiny_engine)
    less = llm.prompt_helper(preference_tokens=200).context_window
    assert llm.prompt_helper(preference_tokens=0).context_window - less == 200


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_output": 5000}, InvalidParamsError, "num_output=5000: in a context window of 640"),
        ({"num_output": 600}, InvalidParamsError, "leaves -"),
        ({"preference_tokens": 5000}, InvalidParamsError, "reserved"),
        ({"preference_tokens": -1}, InvalidParamsError, "preference_tokens=-1"),
        ({"preference_tokens": "9"}, InvalidParamsError, "preference_tokens='9'"),
        ({"num_output": 0}, InvalidParamsError, "num_output=0"),
        ({"num_output": True}, InvalidParamsError, "num_output=True"),
        ({"chunk_overlap_ratio": 1.0}, InvalidParamsError, "chunk_overlap_ratio=1.0"),
        ({"chunk_overlap_ratio": -0.1}, InvalidParamsError, "chunk_overlap_ratio=-0.1"),
        ({"chunk_overlap_ratio": "x"}, InvalidParamsError, "chunk_overlap_ratio='x'"),
        ({"chunk_size_limit": 0}, InvalidParamsError, "chunk_size_limit=0"),
        ({"separator": 5}, InvalidParamsError, "separator=5"),
        ({"chunk_overlap": 5}, UnknownArgumentError, "did you mean 'chunk_overlap_ratio'"),
    ],
)
def test_a_prompt_helper_refuses_what_leaves_no_room(tiny_engine, options, error, said):
    with pytest.raises(error, match=said):
        small_llm(tiny_engine).prompt_helper(**options)


def test_room_for_the_answer_is_checked_where_it_is_set(tiny_engine, monkeypatch):
    with pytest.raises(InvalidParamsError, match="num_output=630"):
        small_llm(tiny_engine, max_tokens=630).prompt_helper()
    assert small_llm(tiny_engine).prompt_helper(num_output=33).num_output == 33
    monkeypatch.setattr(Settings, "_prompt_helper", small_llm(tiny_engine).prompt_helper())
    for name, value in (("num_output", 5000), ("context_window", 5), ("num_output", "x")):
        with pytest.raises(InvalidParamsError, match=str(value)):
            setattr(Settings, name, value)
    Settings.num_output = 7
    assert Settings.prompt_helper.num_output == 7


def test_llama_indexs_own_helper_has_room_for_every_model(tiny_engine):
    llm = small_llm(tiny_engine, max_tokens=5000)
    assert PromptHelper.from_llm_metadata(llm.metadata).repack(QA, [WORDS * 30])
    assert llm.max_tokens == 5000


def test_llama_indexs_own_prompt_helper_is_not_touched(tiny_engine, monkeypatch):
    llm = small_llm(tiny_engine)
    monkeypatch.setattr("llama_index.core.global_tokenizer", str.split)
    for name in ("_prompt_helper", "_llm"):
        monkeypatch.setattr(Settings, name, None)
    llm.prompt_helper()
    assert Settings._prompt_helper is None
    Settings.llm = llm
    assert Settings.prompt_helper.context_window == CONTEXT_WINDOW
    assert get_response_synthesizer()._prompt_helper is Settings.prompt_helper


def test_settings_take_model_tokenizer_and_helper(tiny_engine, monkeypatch):
    llm = small_llm(tiny_engine, profiles=store_of_two())
    for name in ("_prompt_helper", "_llm", "_tokenizer"):
        monkeypatch.setattr(Settings, name, None)
    monkeypatch.setattr("llama_index.core.global_tokenizer", None)
    Settings.llm = llm
    Settings.tokenizer = llm.tokenizer
    Settings.prompt_helper = llm.prompt_helper()
    assert Settings.llm is llm
    template = PromptTemplate("{context_str}{query_str}")
    nodes = [NodeWithScore(node=TextNode(text="Sea? "), score=1.0)]
    with preference_scope(user_id="ann"):
        make = get_response_synthesizer(summary_template=template, response_mode="tree_summarize")
        answer = make.synthesize("Blue?", nodes)
    # The splitter of a text drops the space at its end.
    assert str(answer) == engine_result(tiny_engine, ANN, turns=[("user", "Sea?Blue?")]).text


# Forms that leave the process.


def test_the_payload_contains_model_and_temperature_and_no_preference(tiny_engine):
    llm = small_llm(tiny_engine, preference=ANN, temperature=0.5, system_prompt="Be kind.")
    payload = llm.to_payload()
    assert payload["model"] == "tiny"
    assert payload["temperature"] == 0.5
    assert payload["max_tokens"] == TOKENS
    assert payload["class_name"] == AmuletLLM.class_name() == "AmuletLLM"
    assert ANN not in str(payload)
    json.dumps(payload)


SETTINGS = {
    "temperature": 0.5,
    "max_tokens": 7,
    "top_k": 3,
    "seed": 11,
    "stop": ("x", "y"),
    "method": "linear_alignment",
    "system_prompt": "Be kind.",
    "chat_template_kwargs": {"loud": True},
    "steer_strings": True,
    "timeout": 9.0,
}


@pytest.mark.parametrize("form", ["dict", "json"])
def test_a_serialised_model_comes_back_equal(folder, form):
    llm = AmuletLLM(model=folder, **SETTINGS)
    if form == "dict":
        written = json.loads(json.dumps(llm.to_dict()))
        back = AmuletLLM.from_dict(written)
    else:
        back = AmuletLLM.from_json(llm.to_json())
    assert back.to_dict() == llm.to_dict()
    assert back.sampling == llm.sampling
    assert {name: getattr(back, name) for name in SETTINGS} == SETTINGS
    assert back.metadata == llm.metadata


def test_a_pickle_comes_back_equal(folder):
    llm = AmuletLLM(model=folder, preference=ANN, **SETTINGS)
    back = pickle.loads(pickle.dumps(llm))  # noqa: S301 - made above
    assert back.to_dict() == llm.to_dict()
    assert back.preference == ANN
    assert back.complete(QUESTION).text == llm.complete(QUESTION).text


# Conventions of prompts, the same in every way to ask.


async def all_eight(llm, prompt=QUESTION, messages=CHAT, **call):
    return [
        llm.complete(prompt, **call),
        list(llm.stream_complete(prompt, **call))[-1],
        await llm.acomplete(prompt, **call),
        [it async for it in await llm.astream_complete(prompt, **call)][-1],
        llm.chat(messages, **call),
        list(llm.stream_chat(messages, **call))[-1],
        await llm.achat(messages, **call),
        [it async for it in await llm.astream_chat(messages, **call)][-1],
    ]


async def prompts_of(**settings):
    """The prompts of all eight ways, as texts."""
    engine = ScriptedEngine()
    await all_eight(AmuletLLM(engine=engine, **settings))
    return [engine.tokenizer.decode(request.contexts[0]) for request in engine.requests]


CHATML = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


async def test_every_way_writes_the_prompt_with_the_chat_template():
    for prompt in await prompts_of():
        assert prompt.endswith(CHATML)
        assert prompt.count(QUESTION) == 1


async def test_every_method_writes_the_system_prompt_once():
    for prompt in await prompts_of(system_prompt="Be kind to zebras."):
        assert prompt.startswith("<|im_start|>system\nBe kind to zebras.")
        assert prompt.count("zebras") == 1
        assert prompt.endswith(CHATML)


async def test_every_way_to_complete_wraps_the_query():
    wrapper = PromptTemplate("Q: {query_str} A:")
    prompts = await prompts_of(query_wrapper_prompt=wrapper)
    assert all(f"user\nQ: {QUESTION} A:<|im_end|>" in prompt for prompt in prompts[:4])
    assert all(prompt.endswith(CHATML) for prompt in prompts[4:])


async def test_every_way_to_complete_writes_whole_completions():
    prompts = await prompts_of(completion_to_prompt=lambda text: f"<|im_start|>[{text}]")
    assert prompts[:4] == [f"<|im_start|>[{QUESTION}]"] * 4
    assert all(prompt.endswith(CHATML) for prompt in prompts[4:])
    prompts = await prompts_of(completion_to_prompt=lambda text: f"[{text}]", system_prompt="Sys.")
    assert prompts[:4] == [f"Sys.\n\n[{QUESTION}]"] * 4


async def test_every_way_to_complete_wraps_the_query_before_it_writes_whole_completions():
    prompts = await prompts_of(
        completion_to_prompt=lambda text: f"[{text}]",
        query_wrapper_prompt=PromptTemplate("Q: {query_str}"),
    )
    assert prompts[:4] == [f"[Q: {QUESTION}]"] * 4


async def test_every_way_writes_whole_prompts_of_messages():
    def written(messages):
        return "|".join(f"{message.role.value}={message.content}" for message in messages)

    prompts = await prompts_of(messages_to_prompt=written)
    assert prompts == [f"user={QUESTION}"] * 8
    prompts = await prompts_of(messages_to_prompt=written, system_prompt="Sys.")
    assert prompts == [f"system=Sys.|user={QUESTION}"] * 8


async def test_a_formatted_prompt_stays_as_it_is_in_every_way():
    engine = ScriptedEngine()
    llm = AmuletLLM(
        engine=engine,
        system_prompt="Sys.",
        completion_to_prompt=lambda text: f"[{text}]",
        query_wrapper_prompt=PromptTemplate("Q: {query_str}"),
    )
    llm.complete("<|im_start|>x", formatted=True)
    list(llm.stream_complete("<|im_start|>x", formatted=True))
    await llm.acomplete("<|im_start|>x", formatted=True)
    assert [_ async for _ in await llm.astream_complete("<|im_start|>x", formatted=True)]
    prompts = [engine.tokenizer.decode(request.contexts[0]) for request in engine.requests]
    assert prompts == ["<|im_start|>x"] * 4


def test_a_model_is_made_and_described_on_a_loop_without_being_loaded(folder, unloaded):
    async def describe():
        return AmuletLLM(model=folder).metadata.context_window

    assert asyncio.run(describe()) == 384


def test_a_trace_shows_whether_a_prompt_was_whole(watched):
    _, spans, _ = watched
    llm = AmuletLLM(engine=ScriptedEngine())
    llm.complete("x", formatted=True)
    llm.complete("x")
    assert [arguments["kwargs"]["formatted"] for arguments in spans.arguments] == [True, False]
