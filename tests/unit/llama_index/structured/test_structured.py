"""Objects of a schema: valid with any model, whole at the end of a stream, and as asked for."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from enum import Enum
from itertools import pairwise
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_validator, model_validator

from amulet_integrations import preference_scope
from amulet_integrations.engine.result import Increment
from amulet_integrations.errors import (
    AmuletError,
    AnswerError,
    InvalidParamsError,
    PromptError,
    StructuredOutputError,
    UnknownArgumentError,
    UnsupportedGrammarError,
)
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.llama_index.support import ANN, BOB, chat_messages, store_of_two

SEA = PromptTemplate("Describe the {thing}.")
MODES = [PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION, PydanticProgramMode.LLM]


class Mood(str, Enum):  # noqa: UP042 - what users write
    CALM = "calm"
    WILD = "wild"


class Port(BaseModel):
    city: str = Field(max_length=6)
    ships: int = Field(ge=10, le=4000)


class Sea(BaseModel):
    """A sea, with what lies at it."""

    name: str = Field(min_length=2, max_length=10)
    mood: Mood
    depth: float = Field(ge=0.0, le=9000.0)
    ports: list[Port] = Field(min_length=1, max_length=2)
    nick: str | None = Field(default=None, max_length=12)


class Tree(BaseModel):
    """A node and its children."""

    value: Annotated[int, Field(ge=1, le=9)]
    children: list[Tree] = Field(default=[], max_length=2)


class Shape(BaseModel):
    kind: Literal["round", "flat"]
    size: int | None
    labels: dict[str, bool] = {}


CLASSES = [Sea, Tree, Shape]


class Word(BaseModel):
    """One word."""

    word: str = Field(max_length=8)


@pytest.fixture(scope="module")
def roomy():
    """A tiny engine with room for a schema in the prompt."""
    with make_tiny_engine(max_position_embeddings=4096) as engine:
        yield engine


@pytest.fixture
def llm(roomy):
    return AmuletLLM(engine=roomy, max_tokens=160, profiles=store_of_two())


def scripted(text, **settings):
    return AmuletLLM(engine=ScriptedEngine(list(text)), **settings)


async def every_prediction(llm, output_cls, prompt=SEA, **arguments):
    """The objects of all four ways; a stream's last one."""
    kwargs: dict[str, Any] = {"thing": "sea", **arguments}
    return [
        llm.structured_predict(output_cls, prompt, **kwargs),
        await llm.astructured_predict(output_cls, prompt, **kwargs),
        list(llm.stream_structured_predict(output_cls, prompt, **kwargs))[-1],
        [it async for it in await llm.astream_structured_predict(output_cls, prompt, **kwargs)][-1],
    ]


@pytest.mark.parametrize("output_cls", [Sea, Tree])
@pytest.mark.parametrize("mode", MODES)
async def test_every_model_predicts_valid_objects_in_every_way(llm, output_cls, mode):
    llm = llm.model_copy(update={"pydantic_program_mode": mode})
    options = {"temperature": 1.0, "seed": 3}
    found = await every_prediction(llm, output_cls, llm_kwargs=options)
    for one in found:
        assert type(one) is output_cls
        assert output_cls.model_validate_json(one.model_dump_json()) == one
    assert all(one == found[0] for one in found)
    other = llm.structured_predict(output_cls, SEA, {**options, "seed": 4}, thing="sea")
    assert other != found[0]


@pytest.mark.parametrize("seed", range(4))
def test_every_draw_is_valid(llm, seed):
    options = {"temperature": 1.5, "seed": seed, "max_tokens": 110}
    for output_cls in CLASSES:
        assert isinstance(llm.structured_predict(output_cls, SEA, options, thing="sea"), output_cls)


def grows(before, after):
    """Whether nothing is taken back; the last number may have gone on."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(name in after and grows(before[name], after[name]) for name in before)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) <= len(after) and all(map(grows, before, after))
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    if isinstance(before, int | float):  # a whole object may have 3.0 where a half one had 3
        return isinstance(after, int | float)
    return before is None


SCRIPT = {
    "name": "Aegean Sea",
    "mood": "wild",
    "depth": 3544.5,
    "ports": [{"city": "Patra🌊", "ships": 120}, {"city": "Volos", "ships": 33}],
    "nick": "Archipelago",
}


async def test_a_stream_only_grows_and_ends_with_the_whole():
    llm = scripted(json.dumps(SCRIPT, ensure_ascii=False))
    streams = [
        list(llm.stream_structured_predict(Sea, SEA, thing="sea")),
        [it async for it in await llm.astream_structured_predict(Sea, SEA, thing="sea")],
    ]
    for objects in streams:
        dumped = [json.loads(it.model_dump_json(exclude_unset=True)) for it in objects]
        assert len(dumped) > 30
        assert dumped[-1] == SCRIPT
        assert type(objects[-1]) is Sea
        for before, after in pairwise(dumped):
            assert grows(before, after)
        assert any(it.get("nick") == "Archi" for it in dumped)
        # What has not come yet is None, not missing.
        assert all(hasattr(it, name) for it in objects for name in Sea.model_fields)


@pytest.mark.parametrize("mode", MODES)
def test_streams_of_random_models_only_grow(llm, mode):
    llm = llm.model_copy(update={"pydantic_program_mode": mode})
    objects = list(llm.stream_structured_predict(Sea, SEA, {"seed": 1}, thing="sea"))
    dumped = [json.loads(it.model_dump_json(exclude_unset=True)) for it in objects]
    assert len(dumped) > 5
    assert all(grows(before, after) for before, after in pairwise(dumped))
    assert type(objects[-1]) is Sea


# What the call says is followed.


@pytest.mark.parametrize("mode", MODES)
async def test_arguments_of_the_call_reach_the_engine_in_every_way(roomy, mode, monkeypatch):
    requests = watch(monkeypatch, roomy)
    llm = AmuletLLM(engine=roomy, pydantic_program_mode=mode, max_tokens=80)
    options = {"max_tokens": 81, "temperature": 0.5, "seed": 7, "timeout": 50.0, "preference": ANN}
    given = dict(options)
    assert all(await every_prediction(llm, Word, llm_kwargs=given))
    assert given == options  # the caller's own dict is left as it was
    assert len(requests) == 4
    for request in requests:
        found = request.sampling
        assert (found.max_new_tokens, found.temperature, found.seed) == (81, 0.5, 7)
        assert request.timeout == 50.0
        texts = [roomy.tokenizer.decode(context) for context in request.contexts]
        assert [ANN in text for text in texts] == [False, True]


def watch(monkeypatch, engine):
    """The requests that an engine gets from now on."""
    requests = []
    for name in ("stream", "astream"):
        method = getattr(engine, name)

        def noted(request, method=method):
            requests.append(request)
            return method(request)

        monkeypatch.setattr(engine, name, noted, raising=False)
    return requests


@pytest.mark.parametrize("mode", MODES)
async def test_names_that_programs_settle_themselves_change_nothing(llm, mode):
    llm = llm.model_copy(update={"pydantic_program_mode": mode})
    options = {"tool_required": False, "tool_choice": "none", "allow_parallel_tool_calls": True}
    found = await every_prediction(llm, Word, llm_kwargs=options)
    assert found == await every_prediction(llm, Word)
    assert all(type(one) is Word for one in found)


@contextmanager
def refuses(kind, message):
    """Checks that a prediction fails as LlamaIndex's engines cannot take for an answer."""
    with pytest.raises(AnswerError, match=message) as caught:
        yield
    assert isinstance(caught.value.__cause__, kind)
    assert not isinstance(caught.value, ValueError)


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_no_argument_is_refused(llm, mode):
    llm = llm.model_copy(update={"pydantic_program_mode": mode})
    for options, kind in (
        ({"temprature": 1.0}, UnknownArgumentError),
        ({"temperature": -1.0}, InvalidParamsError),
    ):
        with refuses(kind, next(iter(options))):
            llm.structured_predict(Word, SEA, options, thing="sea")
        with refuses(kind, next(iter(options))):
            await llm.astructured_predict(Word, SEA, options, thing="sea")
        with pytest.raises(AmuletError, match=next(iter(options))):
            list(llm.stream_structured_predict(Word, SEA, options, thing="sea"))


def test_strings_are_steered_where_requested():
    engine = ScriptedEngine(['{"word": "x"}'])
    for made, called, steered in (
        (False, {}, False),
        (False, {"steer_strings": True}, True),
        (True, {}, True),
        (True, {"steer_strings": False}, False),
    ):
        llm = AmuletLLM(engine=engine, preference=ANN, steer_strings=made)
        llm.structured_predict(Word, SEA, called, thing="sea")
        (alternative,) = engine.requests[-1].alternatives
        assert (alternative.string_weights not in (None, alternative.weights)) == steered


@pytest.mark.parametrize("mode", MODES)
async def test_a_prediction_is_for_who_asked_wherever_it_is_read(roomy, mode, monkeypatch):
    requests = watch(monkeypatch, roomy)
    llm = AmuletLLM(
        engine=roomy, pydantic_program_mode=mode, max_tokens=80, profiles=store_of_two()
    )
    with preference_scope(user_id="ann"):
        late = [
            llm.astructured_predict(Word, SEA, thing="sea"),
            llm.astream_structured_predict(Word, SEA, thing="sea"),
        ]
        stream = llm.stream_structured_predict(Word, SEA, thing="sea")
    with preference_scope(user_id="bob"):
        list(stream)
        await late[0]
        assert [it async for it in await late[1]]
        llm.structured_predict(Word, SEA, {"user_id": "ann"}, thing="sea")
    assert len(requests) == 4
    for request in requests:
        prompt_text = roomy.tokenizer.decode(request.contexts[-1])
        assert ANN in prompt_text
        assert BOB not in prompt_text


def test_every_context_describes_the_schema():
    engine = ScriptedEngine(['{"word": "x"}'])
    AmuletLLM(engine=engine, preference=ANN).structured_predict(Word, SEA, thing="sea")
    texts = [engine.tokenizer.decode(context) for context in engine.requests[0].contexts]
    assert len(texts) == 2
    assert all('"word"' in text and "Describe the sea." in text for text in texts)


def test_prompts_of_several_messages_are_filled_in():
    engine = ScriptedEngine(['{"word": "x"}'])
    prompt = ChatPromptTemplate(
        message_templates=chat_messages(("system", "Speak of {thing}."), ("user", "Go on: {thing}"))
    )
    llm = AmuletLLM(engine=engine)
    assert llm.structured_predict(Word, prompt, thing="seas") == Word(word="x")
    text = engine.tokenizer.decode(engine.requests[0].contexts[0])
    assert "Speak of seas." in text
    assert "Go on: seas" in text


def test_the_system_prompt_appears_once():
    engine = ScriptedEngine(['{"word": "x"}'])
    llm = AmuletLLM(engine=engine, system_prompt="Be terse about zebras.")
    llm.structured_predict(Word, SEA, thing="sea")
    text = engine.tokenizer.decode(engine.requests[0].contexts[0])
    assert text.count("Be terse about zebras.") == 1


# What cannot be had is refused.


class Even(BaseModel):
    inner: Picky


class Picky(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def _refuse(cls, value):
        raise ValueError("codes are even")


class Whole(BaseModel):
    code: str

    @model_validator(mode="after")
    def _refuse(self):
        raise ValueError("these two do not fit")


REFUSED = {
    "a field": (Even, '{"inner": {"code": "hush"}}', r"Even.*inner\.code.*codes are even"),
    "all of it": (Whole, '{"code": "hush"}', r"Whole.*these two do not fit"),
    "a half": (Word, '{"word": "hush', r"Word"),
    "no JSON": (Word, "hush", r"Word"),
    "nothing": (Word, [""], r"Word"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_validators_that_refuse_are_named_and_nothing_of_the_answer_is(case):
    output_cls, text, message = REFUSED[case]
    llm = scripted(text)
    structured = llm.as_structured_llm(output_cls)
    chat = chat_messages(("user", "Sea?"))

    async def last_of(opening):
        return [it async for it in await opening][-1]

    ways = [
        lambda: llm.structured_predict(output_cls, SEA, thing="sea"),
        lambda: list(llm.stream_structured_predict(output_cls, SEA, thing="sea")),
        lambda: structured.chat(chat),
        lambda: list(structured.stream_chat(chat)),
        lambda: structured.complete("Sea?"),
        lambda: list(structured.stream_complete("Sea?")),
    ]
    later = [
        lambda: llm.astructured_predict(output_cls, SEA, thing="sea"),
        lambda: last_of(llm.astream_structured_predict(output_cls, SEA, thing="sea")),
        lambda: structured.achat(chat),
        lambda: last_of(structured.astream_chat(chat)),
        lambda: structured.acomplete("Sea?"),
        lambda: last_of(structured.astream_complete("Sea?")),
    ]
    errors = []
    for way in ways:
        with pytest.raises(StructuredOutputError, match=message) as caught:
            way()
        errors.append(caught.value)
    for way in later:
        with pytest.raises(StructuredOutputError, match=message) as caught:
            await way()
        errors.append(caught.value)
    assert not any("hush" in str(error) for error in errors)


@pytest.mark.parametrize("wanted", [dict, "Word", 5, Word(word="x")], ids=str)
def test_what_is_no_pydantic_model_is_refused(wanted):
    llm = scripted("{}")
    with refuses(PromptError, "output_cls"):
        llm.structured_predict(wanted, SEA, thing="sea")
    with pytest.raises(AmuletError, match="output_cls"):
        llm.stream_structured_predict(wanted, SEA, thing="sea")
    assert not llm.engine.requests


class SeaDict(TypedDict):
    name: str
    depth: NotRequired[int]


@dataclasses.dataclass
class SeaData:
    name: str


NOT_PREDICTED = [Mood, list, float, object, list[Sea], Sea | None, SeaDict, SeaData]


@pytest.mark.parametrize("wanted", NOT_PREDICTED, ids=str)
def test_types_that_llama_index_cannot_predict_are_refused_with_a_remedy(wanted):
    llm = scripted("{}")
    remedy = r"output_cls=.* is no Pydantic model.*class Answer\(BaseModel\)"
    with refuses(PromptError, remedy):
        llm.structured_predict(wanted, SEA, thing="sea")
    for refused in (
        lambda: llm.as_structured_llm(wanted),
        lambda: llm.stream_structured_predict(wanted, SEA, thing="sea"),
        lambda: llm.astructured_predict(wanted, SEA, thing="sea"),
        lambda: llm.astream_structured_predict(wanted, SEA, thing="sea"),
    ):
        with pytest.raises(AmuletError, match=remedy):
            refused()
    assert not llm.engine.requests


@pytest.mark.parametrize("wanted", [SeaDict, SeaData], ids=str)
def test_answers_to_messages_may_follow_any_type_of_objects(wanted, llm):
    found = json.loads(llm.complete("Sea?", response_format=wanted).text)
    assert isinstance(found.pop("name"), str)
    assert found.keys() <= {"depth"}


@pytest.mark.parametrize("wanted", [Mood, list[Sea], float, object], ids=str)
def test_answers_to_messages_follow_no_other_type(wanted):
    llm = scripted("{}")
    with pytest.raises(PromptError, match="class Answer"):
        llm.complete("Sea?", response_format=wanted)
    assert not llm.engine.requests


class Tags(BaseModel):
    tags: set[int] = Field(max_length=3)


class Numbered(BaseModel):
    numbers: list[int] = Field(json_schema_extra={"uniqueItems": True})


@pytest.mark.parametrize("mode", MODES)
async def test_a_set_takes_what_is_written_twice_once(mode):
    text = '{"tags": [7, 7, 5]}'
    if mode is PydanticProgramMode.FUNCTION:
        text = f'<tool_call>\n{{"name": "Tags", "arguments": {text}}}\n</tool_call>'
    llm = scripted(text, pydantic_program_mode=mode)
    for found in await every_prediction(llm, Tags):
        assert found == Tags(tags={5, 7})


def test_sets_are_predicted(llm):
    options = {"temperature": 1.0, "seed": 5}
    found = llm.structured_predict(Tags, SEA, options, thing="sea")
    assert isinstance(found.tags, set)


async def test_what_no_grammar_enforces_is_checked_when_the_object_is_finished():
    good = scripted('{"numbers": [1, 2]}')
    for found in await every_prediction(good, Numbered):
        assert found.numbers == [1, 2]
    bad = scripted('{"numbers": [1, 1]}')
    with pytest.raises(StructuredOutputError, match=r"\$\.numbers"):
        bad.structured_predict(Numbered, SEA, thing="sea")
    with pytest.raises(StructuredOutputError, match=r"\$\.numbers"):
        list(bad.stream_structured_predict(Numbered, SEA, thing="sea"))
    with pytest.raises(StructuredOutputError, match=r"\$\.numbers"):
        bad.as_structured_llm(Numbered).complete("Sea?")


class Beyond(BaseModel):
    value: Any = Field(json_schema_extra={"disallow": "string"})


@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION])
def test_a_schema_beyond_grammars_is_refused_before_anything_is_computed(mode):
    llm = scripted("{}", pydantic_program_mode=mode)
    with refuses(UnsupportedGrammarError, "disallow"):
        llm.structured_predict(Beyond, SEA, thing="sea")
    with pytest.raises(AmuletError, match="'disallow'"):
        list(llm.stream_structured_predict(Beyond, SEA, thing="sea"))
    with pytest.raises(UnsupportedGrammarError, match="disallow"):
        llm.as_structured_llm(Beyond).chat(chat_messages(("user", "Sea?")))
    assert not llm.engine.requests


def test_an_async_call_refuses_when_it_is_made():
    llm = scripted("{}")
    for ask in (llm.astructured_predict, llm.astream_structured_predict):
        with pytest.raises(AmuletError, match="'disallow'"):
            ask(Beyond, SEA, thing="sea")


def test_a_response_format_beside_the_class_is_refused():
    llm = scripted("{}")
    with refuses(PromptError, "response_format"):
        llm.structured_predict(Word, SEA, {"response_format": Sea}, thing="sea")
    with pytest.raises(PromptError, match="response_format"):
        llm.as_structured_llm(Word).chat(CHAT, response_format=Sea)


def test_whole_prompts_take_no_schema():
    llm = scripted("{}", messages_to_prompt=lambda messages: "x")
    for ask in (
        lambda: llm.structured_predict(Word, SEA, thing="sea"),
        lambda: llm.stream_structured_predict(Word, SEA, thing="sea"),
    ):
        with pytest.raises(AmuletError, match="messages_to_prompt"):
            ask()
    with pytest.raises(PromptError, match="messages_to_prompt"):
        llm.as_structured_llm(Word).complete("Sea?")
    with pytest.raises(PromptError, match="formatted=True"):
        scripted("{}").complete("Sea?", formatted=True, response_format=Word)
    assert not llm.engine.requests


# LlamaIndex's events.


def of_predictions(events):
    return [
        type(event).__name__.removeprefix("LLMStructuredPredict").removesuffix("Event")
        for event in events
        if "Structured" in type(event).__name__
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_predictions_fire_their_events(llm, events, mode):
    llm = llm.model_copy(update={"pydantic_program_mode": mode, "preference": ANN})
    found = llm.structured_predict(Word, SEA, thing="sea")
    assert of_predictions(events) == ["Start", "End"]
    start, end = (event for event in events if "Structured" in type(event).__name__)
    assert (start.output_cls, start.template_args) == (Word, {"thing": "sea"})
    assert start.template.get_template() == SEA.get_template()
    assert end.output == found
    events.clear()
    await llm.astructured_predict(Word, SEA, thing="sea")
    assert of_predictions(events) == ["Start", "End"]
    events.clear()
    *_, last = llm.stream_structured_predict(Word, SEA, thing="sea")
    names = of_predictions(events)
    assert (names[0], names[-1]) == ("Start", "End")
    assert set(names[1:-1]) == {"InProgress"}
    ends = [event for event in events if type(event).__name__ == "LLMStructuredPredictEndEvent"]
    assert ends[0].output == last
    assert all(ANN not in repr(event) for event in events)
    events.clear()
    assert [it async for it in await llm.astream_structured_predict(Word, SEA, thing="sea")]
    assert of_predictions(events) == names


# Structured models.


CHAT = chat_messages(("system", "Know the {sea}."), ("user", "What are {{braces}} and {thing}?"))


async def every_answer(llm, chat=CHAT, text="Sea {x} {{y}}?", **call):
    """Responses of all eight ways; a stream's last one."""
    return [
        llm.chat(chat, **call),
        list(llm.stream_chat(chat, **call))[-1],
        await llm.achat(chat, **call),
        [it async for it in await llm.astream_chat(chat, **call)][-1],
        llm.complete(text, **call),
        list(llm.stream_complete(text, **call))[-1],
        await llm.acomplete(text, **call),
        [it async for it in await llm.astream_complete(text, **call)][-1],
    ]


def text_of(response):
    return response.text if hasattr(response, "text") else response.message.content


@pytest.mark.parametrize("output_cls", [Tree, Shape])
async def test_a_structured_model_answers_with_objects_in_every_way(llm, output_cls):
    structured = llm.as_structured_llm(output_cls)
    assert isinstance(structured, StructuredLLM)
    for response in await every_answer(structured, temperature=1.0, seed=2):
        assert type(response.raw) is output_cls
        assert output_cls.model_validate_json(text_of(response)) == response.raw


async def test_braces_that_users_type_stay_as_they_are():
    llm = scripted('{"word": "x"}').as_structured_llm(Word)
    await every_answer(llm)
    engine = llm.llm.engine
    texts = [engine.tokenizer.decode(request.contexts[0]) for request in engine.requests]
    assert len(texts) == 8
    for text in texts[:4]:
        assert "Know the {sea}." in text
        assert "What are {{braces}} and {thing}?" in text
    for text in texts[4:]:
        assert "Sea {x} {{y}}?" in text


async def test_structured_answers_count_tokens_and_take_a_calls_arguments(llm):
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = llm.model_copy(update={"callback_manager": CallbackManager([counter])})
    structured = llm.as_structured_llm(Word)
    for place, response in enumerate(await every_answer(structured, max_tokens=33), 1):
        usage = response.additional_kwargs
        assert 0 < usage["completion_tokens"] <= 33
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        # One event for each answer: the model inside fires it, and nobody else.
        assert len(counter.llm_token_counts) == 8
        counted = counter.llm_token_counts[place - 1]
        assert counted.prompt_token_count == usage["prompt_tokens"]
        assert counted.completion_token_count == usage["completion_tokens"]
    with pytest.raises(UnknownArgumentError, match="temprature"):
        structured.chat(CHAT, temprature=1.0)


async def test_a_structured_models_streams_only_grow():
    llm = scripted(json.dumps(SCRIPT)).as_structured_llm(Sea)
    streams = [
        list(llm.stream_chat(CHAT)),
        [it async for it in await llm.astream_chat(CHAT)],
        list(llm.stream_complete("Sea?")),
        [it async for it in await llm.astream_complete("Sea?")],
    ]
    for responses in streams:
        dumped = [json.loads(it.raw.model_dump_json(exclude_unset=True)) for it in responses]
        assert len(dumped) > 30
        assert dumped[-1] == SCRIPT
        assert all(grows(before, after) for before, after in pairwise(dumped))
        for response in responses:
            assert json.loads(text_of(response)) == json.loads(response.raw.model_dump_json())


@pytest.mark.parametrize("way", range(8))
async def test_a_structured_model_follows_the_user_who_asked(roomy, way, monkeypatch):
    requests = watch(monkeypatch, roomy)
    llm = AmuletLLM(engine=roomy, max_tokens=40, profiles=store_of_two()).as_structured_llm(Word)
    names = ["chat", "stream_chat", "achat", "astream_chat"]
    names += [name.replace("chat", "complete") for name in names]
    name = names[way]
    argument = CHAT if "chat" in name else "Sea?"
    with preference_scope(user_id="ann"):
        late = getattr(llm, name)(argument)
    with preference_scope(user_id="bob"):
        if name.startswith("a"):
            late = await late
        if name.startswith("astream"):
            assert [it async for it in late]
        elif name.startswith("stream"):
            assert list(late)
        getattr(llm, name.removeprefix("a").removeprefix("stream_"))(argument, user_id="ann")
    assert len(requests) == 2
    for request in requests:
        prompt_text = roomy.tokenizer.decode(request.contexts[-1])
        assert ANN in prompt_text
        assert BOB not in prompt_text


class Endless(ScriptedEngine):
    """Writes a word that has no end."""

    def __init__(self):
        super().__init__(None)

    def _steps(self, request):
        yield Increment('{"word": "', (5,))
        yield from super()._steps(request)


async def test_a_left_stream_of_objects_frees_the_engine():
    engine = Endless()
    llm = AmuletLLM(engine=engine)
    structured = llm.as_structured_llm(Word)
    for open_stream in (
        lambda: llm.stream_structured_predict(Word, SEA, thing="sea"),
        lambda: structured.stream_chat(CHAT),
        lambda: structured.stream_complete("Sea?"),
    ):
        stream = open_stream()
        assert [next(stream) for _ in range(3)]
        assert engine.running == 1
        stream.close()
        assert engine.running == 0
    for opened in (
        llm.astream_structured_predict(Word, SEA, thing="sea"),
        structured.astream_chat(CHAT),
        structured.astream_complete("Sea?"),
    ):
        stream = await opened
        assert [await anext(stream) for _ in range(3)]
        await stream.aclose()
        assert engine.running == 0
