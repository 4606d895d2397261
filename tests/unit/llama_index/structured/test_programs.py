"""LlamaIndex's programs and output parsers: what they read is enforced, what texts say is not."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.output_parsers.selection import SelectionOutputParser
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.question_gen.output_parser import SubQuestionOutputParser
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from pydantic import BaseModel, Field

from amulet_integrations import preference_scope
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.llama_index.support import ANN, BOB, chat_messages, store_of_two


class Kind(str, Enum):  # noqa: UP042 - what users write
    SALT = "salt"
    SWEET = "sweet"


class Water(BaseModel):
    """Some water."""

    kind: Kind
    litres: int = Field(ge=1, le=99)


class Tree(BaseModel):
    """A tree."""

    value: int = Field(ge=1, le=9)
    children: list[Tree] = Field(default=[], max_length=1)


PROGRAMS: dict[str, Any] = {
    "text": LLMTextCompletionProgram,
    "function": FunctionCallingProgram,
}
WATER = '{"kind": "salt", "litres": 12}'
CALLED = f'<tool_call>\n{{"name": "Water", "arguments": {WATER}}}\n</tool_call>'


@pytest.fixture(scope="module")
def roomy():
    """A tiny engine with room for a schema in the prompt."""
    with make_tiny_engine(max_position_embeddings=4096) as engine:
        yield engine


@pytest.fixture
def llm(roomy):
    return AmuletLLM(engine=roomy, max_tokens=120, temperature=1.0, seed=1)


def program_of(kind, llm, output_cls=Water, template="Make some {what}.", **options):
    return PROGRAMS[kind].from_defaults(
        output_cls=output_cls, prompt_template_str=template, llm=llm, **options
    )


def llm_kwargs_of(program, **llm_kwargs):
    """Arguments of a call whose answer is enforced."""
    if isinstance(program, LLMTextCompletionProgram):
        schema = program.output_cls.model_json_schema()
        return {"response_format": {"type": "json_object", "schema": schema}, **llm_kwargs}
    return llm_kwargs


async def every_call(program, **llm_kwargs):
    """The objects of all four ways; a stream's last one."""
    arguments = {"what": "water", "llm_kwargs": llm_kwargs_of(program, **llm_kwargs)}
    return [
        program(**arguments),
        await program.acall(**arguments),
        list(program.stream_call(**arguments))[-1],
        [it async for it in await program.astream_call(**arguments)][-1],
    ]


@pytest.mark.parametrize("output_cls", [Water, Tree])
@pytest.mark.parametrize("kind", PROGRAMS)
async def test_every_model_makes_valid_objects_in_every_way(llm, kind, output_cls):
    program = program_of(kind, llm, output_cls)
    found = await every_call(program)
    assert all(type(one) is output_cls and one == found[0] for one in found)
    seeds = [
        program(llm_kwargs=llm_kwargs_of(program, seed=seed), what="water") for seed in range(2, 6)
    ]
    assert len({one.model_dump_json() for one in seeds}) > 1


@pytest.mark.parametrize("kind", PROGRAMS)
async def test_a_programs_objects_are_those_that_were_written(kind):
    engine = ScriptedEngine(list(WATER if kind == "text" else CALLED))
    found = await every_call(program_of(kind, AmuletLLM(engine=engine)))
    assert found == [Water(kind="salt", litres=12)] * 4
    assert all(request.alternatives for request in engine.requests)


async def test_a_program_whose_call_is_not_required_waits_for_one_nevertheless(llm):
    found = await every_call(program_of("function", llm, tool_required=False))
    assert all(type(one) is Water for one in found)


@pytest.mark.parametrize("kind", PROGRAMS)
async def test_a_programs_arguments_reach_the_engine(kind):
    engine = ScriptedEngine(list(WATER if kind == "text" else CALLED))
    llm = AmuletLLM(engine=engine, profiles=store_of_two())
    options = {"max_tokens": 77, "temperature": 0.5, "user_id": "ann"}
    await every_call(program_of(kind, llm), **options)
    with preference_scope(user_id="ann"):
        await every_call(program_of(kind, llm), max_tokens=77, temperature=0.5)
    assert len(engine.requests) == 8
    for request in engine.requests:
        assert (request.sampling.max_new_tokens, request.sampling.temperature) == (77, 0.5)
        assert ANN in engine.tokenizer.decode(request.contexts[1])


async def test_a_chat_prompt_will_do(llm):
    prompt = ChatPromptTemplate(
        message_templates=chat_messages(("system", "Pour."), ("user", "{what}!"))
    )
    program = LLMTextCompletionProgram.from_defaults(output_cls=Water, prompt=prompt, llm=llm)
    assert all(type(one) is Water for one in await every_call(program))


def test_a_programs_own_parser_reads_its_own_texts():
    class Shouting(PydanticOutputParser):
        def parse(self, text):
            return Water(kind="sweet", litres=len(text))

    engine = ScriptedEngine(["AB", "C"])
    program = program_of("text", AmuletLLM(engine=engine), output_parser=Shouting(Water))
    assert program(what="water") == Water(kind="sweet", litres=3)
    assert not engine.requests[0].alternatives


@pytest.mark.parametrize("enforced", [True, False])
def test_a_text_program_is_enforced_only_where_its_call_names_the_schema(enforced):
    engine = ScriptedEngine(list(WATER))
    program = program_of("text", AmuletLLM(engine=engine))
    llm_kwargs = llm_kwargs_of(program) if enforced else {}
    assert program(llm_kwargs=llm_kwargs, what="water") == Water(kind="salt", litres=12)
    assert bool(engine.requests[0].alternatives) == enforced


# What a text says is no schema.

SAYS_A_SCHEMA = PydanticOutputParser(Water).get_format_string(escape_json=False)


async def test_a_schema_in_a_prompt_enforces_nothing():
    engine = ScriptedEngine()
    llm = AmuletLLM(engine=engine)
    text = f"Summarise this.\n\n{SAYS_A_SCHEMA}"
    typed, template = chat_messages(("user", text)), PromptTemplate("{text}")
    llm.complete(text)
    list(llm.stream_complete(text))
    await llm.acomplete(text)
    assert [_ async for _ in await llm.astream_complete(text)]
    llm.chat(typed)
    list(llm.stream_chat(typed))
    await llm.achat(typed)
    assert [_ async for _ in await llm.astream_chat(typed)]
    llm.predict(template, text=text)
    await llm.apredict(template, text=text)
    list(llm.stream(template, text=text))
    assert [_ async for _ in await llm.astream(template, text=text)]
    assert len(engine.requests) == 12
    for request in engine.requests:
        assert SAYS_A_SCHEMA.strip() in engine.tokenizer.decode(request.contexts[0])
        assert not request.alternatives


class Named(BaseModel):
    """What the program asks for."""

    a_name: str


def test_a_document_in_a_programs_prompt_does_not_change_its_schema():
    engine = ScriptedEngine(['{"a_name": "x"}'])
    program = program_of("text", AmuletLLM(engine=engine), Named)
    llm_kwargs = llm_kwargs_of(program)
    assert program(llm_kwargs=llm_kwargs, what=SAYS_A_SCHEMA) == Named(a_name="x")
    (alternative,) = engine.requests[0].alternatives
    assert "a_name" in alternative.grammar
    assert "litres" not in alternative.grammar


# Output parsers of prompts.

CHOICES = [
    ToolMetadata(name="sea", description="About the sea."),
    ToolMetadata(name="sky", description="About the sky."),
    ToolMetadata(name="sun", description="About the sun."),
]
QUERY = QueryBundle("What is blue?")


@pytest.fixture
def drawing(roomy):
    """Models that draw differently."""
    return [AmuletLLM(engine=roomy, max_tokens=40, temperature=1.5, seed=seed) for seed in range(6)]


async def test_a_single_selector_chooses_one_of_the_choices(drawing):
    chosen = []
    for llm in drawing:
        selector = LLMSingleSelector.from_defaults(llm=llm)
        (selection,) = selector.select(CHOICES, QUERY).selections
        assert (await selector.aselect(CHOICES, QUERY)).selections == [selection]
        chosen.append(selection.index)
    assert set(chosen) <= {0, 1, 2}
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("most", [None, 1, 2])
async def test_a_multi_selector_chooses_at_most_so_many(drawing, most):
    for one in drawing[:3]:
        llm = one.model_copy(update={"max_tokens": 70})
        selector = LLMMultiSelector.from_defaults(llm=llm, max_outputs=most)
        selections = selector.select(CHOICES, QUERY).selections
        assert (await selector.aselect(CHOICES, QUERY)).selections == selections
        assert 1 <= len(selections) <= (most or len(CHOICES))
        assert all(0 <= selection.index < len(CHOICES) for selection in selections)


async def test_a_question_generator_asks_the_tools_that_there_are(drawing):
    names = set()
    for one in drawing[:3]:
        llm = one.model_copy(update={"max_tokens": 110})
        generator = LLMQuestionGenerator.from_defaults(llm=llm)
        questions = generator.generate(CHOICES, QUERY)
        assert await generator.agenerate(CHOICES, QUERY) == questions
        assert questions
        names |= {question.tool_name for question in questions}
    assert names <= {"sea", "sky", "sun"}


class MySelections(SelectionOutputParser):
    def parse(self, output):
        return super().parse('[{"choice": 2, "reason": "mine"}]')


class MyQuestions(SubQuestionOutputParser):
    def parse(self, output):
        return super().parse('{"items": [{"sub_question": "Why?", "tool_name": "sky"}]}')


async def test_parsers_that_read_in_their_own_way_constrain_nothing():
    engine = ScriptedEngine()
    llm = AmuletLLM(engine=engine)
    selector = LLMSingleSelector.from_defaults(llm=llm, output_parser=MySelections())
    assert selector.select(CHOICES, QUERY).selections[0].index == 1
    assert (await selector.aselect(CHOICES, QUERY)).selections[0].index == 1
    generator = LLMQuestionGenerator.from_defaults(llm=llm, output_parser=MyQuestions())
    assert generator.generate(CHOICES, QUERY)[0].tool_name == "sky"
    assert [request.alternatives for request in engine.requests] == [()] * 3


class Renamed(SelectionOutputParser):
    """Reads as its parent does."""

    def format(self, prompt_template):
        return prompt_template + "\n\nChoose."


def test_a_parser_that_only_asks_in_other_words_is_enforced(drawing):
    for llm in drawing[:3]:
        selector = LLMSingleSelector.from_defaults(llm=llm, output_parser=Renamed())
        assert selector.select(CHOICES, QUERY).selections[0].index in {0, 1, 2}


async def test_the_models_own_output_parser_is_enforced_in_predictions(llm):
    llm = llm.model_copy(update={"output_parser": PydanticOutputParser(Water)})
    found = [
        llm.predict(PromptTemplate("Make {what}."), what="water"),
        await llm.apredict(PromptTemplate("Make {what}."), what="water"),
    ]
    # LlamaIndex gives what the parser made as a string.
    assert found[0] == found[1]
    assert found[0].startswith("kind=<Kind.")
    assert "litres=" in found[0]


async def test_a_prompts_output_parser_is_enforced_in_predictions(llm):
    prompt = PromptTemplate("Make {what}.", output_parser=PydanticOutputParser(Water))
    texts = [llm.predict(prompt, what="water"), await llm.apredict(prompt, what="water")]
    assert texts[0] == texts[1]
    assert Water.model_validate(json.loads(texts[0]))


async def test_a_prediction_that_is_parsed_is_for_who_asked():
    engine = ScriptedEngine(['{"kind": "salt", "litres": 1}'])
    llm = AmuletLLM(engine=engine, profiles=store_of_two())
    prompt = PromptTemplate("Make {what}.", output_parser=PydanticOutputParser(Water))
    with preference_scope(user_id="ann"):
        llm.predict(prompt, what="water")
        late = llm.apredict(prompt, what="water")
    with preference_scope(user_id="bob"):
        await late
    for request in engine.requests:
        prompt = engine.tokenizer.decode(request.contexts[-1])
        assert ANN in prompt
        assert BOB not in prompt
