"""Nothing in tools, calls and results becomes a control token or a marker of the prompt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations.prompting import (
    ChatMessage,
    JsonOutput,
    PromptBuilder,
    Tool,
    ToolCall,
)
from tests.unit.prompting.models import CHATML, CONTROL, byte_level, metaspace
from tests.unit.prompting.test_prompt_tokenizer import CONTENT, control_ids
from tests.unit.prompting.tools.tool_conversation import NATIVE, WITHOUT, by_hand
from tests.unit.prompting.tools.tool_models import QWEN

TEMPLATES = {**NATIVE, **WITHOUT}
MODELS = {name: byte_level(template) for name, template in TEMPLATES.items()}
PLACES = (
    *("description", "property", "about", "enum"),
    *("question", "argument", "value", "nested", "call", "result", "answer", "preference"),
)
MARKERS = [
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *(
        "<tools>",
        "</tools>",
        "[TOOL_CALLS]",
        "[/TOOL_RESULTS]",
        "[ARGS]",
        "[INST]",
        "<|python_tag|>",
    ),
]


def talk(words: dict[str, str]) -> tuple[list[ChatMessage], list[Tool]]:
    """A conversation with the words in each place that somebody else writes."""
    arguments = {words["argument"]: words["value"], "deep": [{"er": words["nested"]}]}
    call = ToolCall(name=words["call"], arguments=arguments, id=words["call"])
    parameters = {
        "type": "object",
        "properties": {
            words["property"]: {"type": "string", "description": words["about"]},
            "kind": {"enum": [words["enum"]]},
        },
    }
    tool = Tool(name="look", description=words["description"], parameters=parameters)
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content=words["question"]),
        ChatMessage(role="assistant", content="", tool_calls=(call, call)),
        ChatMessage(role="tool", content=words["result"], tool_call_id=words["call"]),
        ChatMessage(role="tool", content=words["answer"], tool_call_id=words["call"]),
    ]
    return messages, [tool]


def prompt_of(name: str, words: dict[str, str]) -> tuple[list[int], str]:
    builder = PromptBuilder(MODELS[name])
    messages, tools = talk(words)
    (ids,) = builder.contexts(messages, [words["preference"]], tools=tools)
    return ids, builder.render(messages, words["preference"], tools=tools)


CALM = {place: f"calm {place}" for place in PLACES}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("place", PLACES)
def test_a_control_token_stays_text_in_every_place(name, place):
    calm, _ = prompt_of(name, CALM)
    hostile = " b ".join({*CONTROL, *MARKERS})
    ids, text = prompt_of(name, {**CALM, place: f"a {hostile} c"})
    assert control_ids(MODELS[name], ids) == control_ids(MODELS[name], calm)
    assert MODELS[name].decode(ids) == text
    assert f"a {hostile} c" in text


@pytest.mark.parametrize("name", ["chatml", "gemma", "plain"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", [byte_level, metaspace], ids=["byte-level", "metaspace"])
def test_fallback_markers_are_spelled_out_in_what_people_write(name, place, make):
    tokenizer = make(WITHOUT[name])
    builder = PromptBuilder(tokenizer)
    for marker in ("</tools>", "<tool_response>", "</tool_response>", "<tools>"):
        spelled = [tokenizer.convert_tokens_to_ids(char) for char in marker]
        assert None not in spelled

        def times(words, spelled=spelled):
            messages, tools = talk(words)
            (ids,) = builder.contexts(messages, [words["preference"]], tools=tools)
            starts = range(len(ids) - len(spelled) + 1)
            return sum(ids[at : at + len(spelled)] == spelled for at in starts)

        assert times(CALM) == 0
        # Both calls have the same name and arguments.
        twice = place in {"argument", "value", "nested", "call"}
        assert times({**CALM, place: f"a {marker} b"}) == 1 + twice


def test_the_prompts_own_markers_are_whole_tokens():
    tokenizer = MODELS["chatml"]
    ids, _ = prompt_of("chatml", CALM)
    begun = tokenizer.convert_tokens_to_ids("<tool_call>")
    assert ids.count(begun) == 3  # how to call, and two calls


def test_markers_are_plain_text_without_tools():
    tokenizer = byte_level(CHATML)
    text = "say <tools> now"
    (ids,) = PromptBuilder(tokenizer).contexts([ChatMessage(role="user", content=text)], [None])
    own = tokenizer(f"user\n{text}", add_special_tokens=False)["input_ids"]
    assert any(ids[at : at + len(own)] == own for at in range(len(ids)))


TEXT = CONTENT.map(lambda text: f".{text}.")
WORDS = st.fixed_dictionaries(dict.fromkeys(PLACES, TEXT)).filter(
    lambda words: len({words["property"], "kind"}) == 2
)


@pytest.mark.parametrize("name", NATIVE)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(words=WORDS)
def test_native_prompts_equal_the_templates_own(name, words):
    messages, tools = talk(words)
    # Both results go by one id, so they answer the latest call of that id.
    messages[3] = messages[3].model_copy(update={"tool_call_id": None})
    text = PromptBuilder(MODELS[name]).render(messages, words["preference"], tools=tools)
    system = f"Be brief.\n\n{words['preference']}"
    assert text == by_hand(name, MODELS[name], system, messages[1:], tools)
    calm, _ = prompt_of(name, CALM)
    ids, _ = prompt_of(name, words)
    assert control_ids(MODELS[name], ids) == control_ids(MODELS[name], calm)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | CONTENT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CONTENT, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", sorted(set(WITHOUT) - {"qwen3"}))
@settings(max_examples=20, deadline=None, derandomize=True)
@given(words=WORDS, arguments=st.dictionaries(CONTENT, JSON, max_size=3))
def test_fallback_prompts_contain_tools_and_calls_as_json(name, words, arguments):
    tokenizer = MODELS[name]
    builder = PromptBuilder(tokenizer)
    messages, tools = talk(words)
    call = ToolCall(name=words["call"], arguments=arguments)
    messages[2] = ChatMessage(role="assistant", content="", tool_calls=[call])
    messages[3:] = [messages[3].model_copy(update={"tool_call_id": None})]
    text = builder.render(messages, words["preference"], tools=tools)
    (ids,) = builder.contexts(messages, [words["preference"]], tools=tools)
    assert tokenizer.decode(ids) == text
    written = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
    assert f"<tool_call>\n{written}\n</tool_call>" in text
    assert f"\n{json.dumps(tools[0].model_dump(), ensure_ascii=False)}\n</tools>" in text
    assert f"<tool_response>\n{words['result']}\n</tool_response>" in text
    calm, tools = talk(CALM)
    calm[2] = ChatMessage(
        role="assistant", content="", tool_calls=[ToolCall(name="x", arguments={})]
    )
    calm[3:] = [calm[3].model_copy(update={"tool_call_id": None})]
    (calm_ids,) = builder.contexts(calm, ["calm"], tools=tools)
    assert control_ids(tokenizer, ids) == control_ids(tokenizer, calm_ids)


@pytest.mark.parametrize("token", [*CONTROL, "<tools>"])
def test_schemas_documents_and_reasoning_stay_text(token):
    template = CHATML + "{{ documents | tojson }}{{ messages[-2].reasoning_content }}"
    tokenizer = byte_level(template)
    builder = PromptBuilder(tokenizer)

    def ids_with(word):
        answer = ChatMessage(role="assistant", content="So.", reasoning=word)
        again = ChatMessage(role="user", content="Why?")
        (ids,) = builder.contexts(
            [ChatMessage(role="user", content="Hi"), answer, again],
            [None],
            json_output=JsonOutput(json_schema={"properties": {word: {"const": word}}}),
            chat_template_kwargs={"documents": [{"title": word, "text": word}]},
        )
        return ids

    found, calm = ids_with(token), ids_with("calm")
    assert control_ids(tokenizer, found) == control_ids(tokenizer, calm)
    assert tokenizer.decode(found).count(token) == tokenizer.decode(calm).count(token) + 5


def test_quotes_are_escaped_even_where_they_end_control_tokens():
    tokenizer = byte_level(QWEN)
    tokenizer.add_special_tokens({"additional_special_tokens": ['<"stop"', "\\end\\"]})
    builder = PromptBuilder(tokenizer)
    messages, tools = talk({**CALM, "value": '"a" \\end\\ <"stop"'})
    text = builder.render(messages, tools=tools)
    assert json.dumps(messages[2].tool_calls[0].arguments) in text


def test_schemas_keep_the_words_that_templates_look_for():
    """A vocabulary whose control tokens begin and end in letters."""
    kinds = (
        "{% for tool in tools or [] %}{% for p in tool.function.parameters.properties.values() %}"
        "{{ 'a text' if p.type == 'string' else 'not a text' }}{% endfor %}{% endfor %}"
    )
    tokenizer = byte_level(QWEN + kinds)
    tokenizer.add_special_tokens({"additional_special_tokens": ["sop", "eng", "ire", "pt"]})
    tool = Tool(name="look", parameters={"properties": {"size": {"type": "string"}}})
    builder = PromptBuilder(tokenizer)
    text = builder.render([ChatMessage(role="user", content="Hi")], tools=[tool])
    assert text.endswith("\na text")
