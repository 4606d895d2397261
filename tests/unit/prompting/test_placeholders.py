"""No word of a preference, a description or a name changes what the chat template writes."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.errors import ContextLengthError, PromptError, UnsupportedGrammarError
from amulet_integrations.prompting import ChatMessage, JsonOutput, PromptBuilder, Tool
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions
from amulet_integrations.prompting.openai_compat.schemas import check_schema
from tests.unit.prompting.models import CHATML, GEMMA, SWITCHED, byte_level
from tests.unit.prompting.tools.tool_models import QWEN

WORDS = ["/no_think", "/think", "/system_override", "</think>", "python"]
SWITCH = "{% for w in WORDS %}{% if w in TEXT %}SWITCHED{{ w | length }}{% endif %}{% endfor %}"


def switching(template: str, text: str = "messages[0].content") -> str:
    """A template that writes something else for each of the words."""
    return template + SWITCH.replace("WORDS", json.dumps(WORDS)).replace("TEXT", text)


def talk(system: str = "Be brief.") -> list[ChatMessage]:
    return [ChatMessage(role="system", content=system), ChatMessage(role="user", content="Hi")]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("template", [CHATML, GEMMA, SWITCHED, QWEN])
def test_no_preference_switches_the_template(template, word):
    builder = PromptBuilder(byte_level(switching(template)))
    preference = f"{word} Speak {word}"
    written = builder.render(talk(), preference)
    assert written.replace(f"\n\n{preference}", "") == builder.render(talk())


def test_the_applications_own_switch_works_in_both_contexts():
    builder = PromptBuilder(byte_level(switching(CHATML)))
    for preference in (None, "Speak"):
        assert "SWITCHED9" in builder.render(talk("Be brief. /no_think"), preference)


@pytest.mark.parametrize("change", ["| upper", "[:13]", "| replace('B', '')"])
def test_a_template_that_changes_the_preference_is_refused(change):
    template = CHATML.replace("m['content']", f"m['content'] {change}")
    with pytest.raises(PromptError, match="Pass a chat_template"):
        PromptBuilder(byte_level(template)).contexts(talk(), [None, "Speak"])


def test_a_preference_is_written_as_json_where_the_template_writes_json():
    builder = PromptBuilder(byte_level(CHATML.replace("m['content']", "m['content'] | tojson")))
    preference = 'Say "a\\b"\nand /no_think'
    assert json.dumps(f"Be brief.\n\n{preference}") in builder.render(talk(), preference)


@pytest.mark.parametrize("template", [CHATML, QWEN], ids=["fallback", "native"])
@pytest.mark.parametrize("word", WORDS)
def test_no_description_switches_the_template_and_special_names_are_refused(template, word):
    text = "messages[0].content ~ (tools | string if tools else '')"
    builder = PromptBuilder(byte_level(switching(template, text)))

    def tool(name: str, about: str) -> Tool:
        held = {"type": "string", "description": about, "title": about, "enum": [about]}
        return Tool(name="look", description=about, parameters={"properties": {name: held}})

    assert "SWITCHED" not in builder.render(talk(), tools=[tool("city", f"Or {word}")])
    output = JsonOutput(json_schema={"type": "object", "title": word, "description": word})
    assert "SWITCHED" not in builder.render(talk(), json_output=output)
    if word != "</think>":  # control tokens are escaped in names
        with pytest.raises(PromptError, match=f"the name '{word}'"):
            builder.render(talk(), tools=[tool(word, "Where")])


@pytest.mark.parametrize("place", ["message", "preference", "prompt"])
def test_a_megabyte_is_refused_and_long_texts_of_few_tokens_are_not(place):
    tokenizer = byte_level(CHATML)
    tokenizer.add_tokens([" " * 100])
    builder = PromptBuilder(tokenizer, context_window=640)

    def contexts(text: str):
        if place == "prompt":
            return builder.formatted_contexts(text, [None])
        if place == "message":
            return builder.contexts([ChatMessage(role="user", content=text)], [None])
        return builder.contexts(talk(), [None, text])

    with pytest.raises(ContextLengthError, match="1000000 characters"):
        contexts("word " * 200_000)
    assert len(contexts(("a" + " " * 100) * 200 + "b")[-1]) < 640


def test_tokens_are_counted_past_the_context_window():
    builder = PromptBuilder(byte_level(CHATML), context_window=16)
    assert builder.count_tokens([ChatMessage(role="user", content="word " * 500)]) > 500


def nested(levels: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def shared(levels: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema, "b": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [nested(500), shared(60), {"type": "string", "description": "a" * 200_000}],
    ids=["deep", "shared", "long"],
)
def test_a_schema_past_the_limits_is_refused_with_the_limit(schema):
    with pytest.raises(UnsupportedGrammarError, match="the limit"):
        check_schema("the answer", schema)


def test_the_tools_of_a_call_have_a_limit_together():
    def tools(count):
        parameters = {
            "type": "object",
            "properties": {f"p{i}": {"type": "string"} for i in range(2_000)},
        }
        function = {"name": "f", "description": "d", "parameters": parameters}
        named = ({**function, "name": f"f{number}"} for number in range(count))
        return [{"type": "function", "function": it} for it in named]

    with pytest.raises(UnsupportedGrammarError, match="all tools and the answer together"):
        OutputOptions.read({"tools": tools(30)})
    assert len(OutputOptions.read({"tools": tools(3)}).tool_use.tools) == 3
