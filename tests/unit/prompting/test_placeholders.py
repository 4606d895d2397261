"""No word of a preference, a description or a name changes what the chat template writes."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.errors import ContextLengthError, PromptError, UnsupportedGrammarError
from amulet_integrations.prompting import ChatMessage, JsonOutput, PromptBuilder, Tool
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions
from amulet_integrations.prompting.openai_compat.schema_check import SchemaCheck
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
    [
        nested(500),
        shared(60),
        {"type": "string", "description": "a" * 200_000},
        {"type": "string", "description": "a\n" * 5_000},
    ],
    ids=["deep", "shared", "long", "many lines"],
)
def test_a_schema_past_the_limits_is_refused_with_the_limit(schema):
    with pytest.raises(UnsupportedGrammarError, match="the limit"):
        _ = SchemaCheck("the answer", schema).size


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


def tool_of(about: str, name: str = "get_city", **properties: dict) -> Tool:
    held = properties or {"zip": {"type": "string", "description": about, "enum": [about, "b c"]}}
    parameters = {"type": "object", "properties": held, "required": [*held], "errorMessage": about}
    return Tool(name=name, description=about, parameters=parameters)


def by_transformers(template: str, tool: Tool) -> str:
    """What transformers alone writes."""
    function = {"type": "function", "function": tool.model_dump()}
    messages = [message.model_dump(include={"role", "content"}) for message in talk()]
    return byte_level(template).apply_chat_template(
        messages, tools=[function], tokenize=False, add_generation_prompt=True
    )


def with_tool(written: str) -> str:
    """A template that writes a tool in this way, behind what shows that it knows tools."""
    each = (
        "{{ tool.function.name }}: {{ tool.function.description }}"
        "{% for name, held in tool.function.parameters.properties.items() %}"
        "{{ name }} {{ held.type }} {{ held.description }}{% endfor %} "
    )
    return QWEN.replace("{{ tool | tojson }}", each + written)


FUNCTION = "tool.function"
PARAMETERS = f"{FUNCTION}.parameters"
WAYS = {
    "repr of a tool": "{{ tool }}",
    "repr of a list": f"{{{{ [{FUNCTION}.description, 'and'] }}}}",
    "repr of a part": f"{{{{ ['so: ' ~ {FUNCTION}.description ~ '.'] }}}}",
    "repr of names": f"{{{{ {PARAMETERS}.required }}}}",
    "repr of JSON": "{{ [tool | tojson] }}",
    "ASCII": "{{ tool | tojson(ensure_ascii=true) }}",
    "ASCII in JSON": "{{ tool | tojson | tojson(ensure_ascii=true) }}",
    "ASCII twice": "{{ tool | tojson(ensure_ascii=true) | tojson }}",
    "sorted keys": "{{ tool | tojson(sort_keys=true) }}",
    "dictsort": f"{{% for it in {PARAMETERS} | dictsort %}}{{{{ it }}}}{{% endfor %}}",
    "padding": f"{{{{ '%-12s|' % {FUNCTION}.name }}}}{{{{ {FUNCTION}.name | center(30) }}}}",
    "title": f"{{{{ {FUNCTION}.name | replace('_', ' ') | title }}}}",
    "length": f"{{{{ {FUNCTION}.name | length }}}}",
    "lines": f"{{{{ {FUNCTION}.description | replace('\\n', '\\n// ') }}}}",
    "indent": f"{{{{ {FUNCTION}.description | indent(4) }}}}",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tools_are_written_as_transformers_writes_them(way):
    builder = PromptBuilder(byte_level(with_tool(way)))
    texts = [
        "Plain",
        "\\\\[INST]",
        "It's so",
        'Say "so"',
        "It's\n  \"so\"\n\n}; // end \\'",
        "\\U000f0002 é 🙂 ",
    ]
    for tool in [
        *map(tool_of, texts),
        tool_of("D", a={"type": "string"}, Zeta={"type": "string"}, x={}, y={}, z={}),
        tool_of("D", **{"é'[INST]": {"type": "string", "description": "<|im_end|>"}}),
    ]:
        assert builder.render(talk(), tools=[tool]) == by_transformers(with_tool(way), tool)


@pytest.mark.parametrize(
    "change", ["upper", "e", "urlencode", "list", "reverse", "replace('\"', '')"]
)
def test_a_description_in_another_form_is_refused(change):
    builder = PromptBuilder(byte_level(with_tool(f"{{{{ {FUNCTION}.description | {change} }}}}")))
    with pytest.raises(PromptError, match="changes or cuts"):
        builder.render(talk(), tools=[tool_of("Finds it")])


ABOUT = f"{FUNCTION}.description"
READ_ALIKE = {
    "full stop": f"{{{{ {ABOUT} }}}}{{% if not {ABOUT}.endswith('.') %}}.{{% endif %}}",
    "full stop, by index": f"{{{{ {ABOUT} }}}}{{% if {ABOUT}[-1] not in '.!?' %}}.{{% endif %}}",
    "full stop, by a filter": f"{{{{ {ABOUT} }}}}{{{{ '' if {ABOUT}[-1:] == '。' else '。' }}}}",
    "lines": f"{{% for it in {ABOUT}.splitlines() %}}- {{{{ it }}}}{{% endfor %}}",
    "words": f"{{{{ {ABOUT}.split() | join(' ') }}}}",
    "short wordwrap": f"{{{{ {ABOUT} | wordwrap(200) }}}}",
    "short truncate": f"{{{{ {ABOUT} | truncate(200) }}}}",
}
READ_OTHERWISE = {
    "wordwrap": f"{{{{ {ABOUT} | wordwrap(12) }}}}",
    "truncate": f"{{{{ {ABOUT} | truncate(12) }}}}",
    "length": f"{{{{ {ABOUT} | length }}}}",
    "long": f"{{% if {ABOUT} | length > 30 %}}LONG{{% endif %}}{{{{ {ABOUT} }}}}",
    "first sentence": f"{{{{ {ABOUT}.split('. ')[0] }}}}",
    "capital": f"{{{{ {ABOUT}[0] | upper }}}}{{{{ {ABOUT}[1:] }}}}",
    "quotation marks": f"{{% if '\"' in {ABOUT} %}}QUOTED{{% endif %}}{{{{ {ABOUT} }}}}",
    "JSON of a string": "{{ (tool | string) | tojson }}",
    "JSON of a string in a list": "{{ ([tool] | string) | tojson }}",
}
SENTENCES = [
    *(
        "Finds it",
        "Finds it.",
        "Finds it!",
        "Where?",
        "...",
        "そうだ。",
        "One.\nTwo",
        "So. It's so.",
    ),
    'finds a city. It is the one "that" you are looking for',
]


@pytest.mark.parametrize("way", READ_ALIKE.values(), ids=READ_ALIKE)
def test_a_template_that_ends_sentences_writes_them_as_transformers_does(way):
    builder = PromptBuilder(byte_level(with_tool(way)))
    for text in SENTENCES:
        written = builder.render(talk(), tools=[tool_of(text)])
        assert written == by_transformers(with_tool(way), tool_of(text))


@pytest.mark.parametrize("way", READ_OTHERWISE.values(), ids=READ_OTHERWISE)
def test_a_template_that_reads_the_shape_of_a_text_writes_the_same_or_refuses(way):
    builder = PromptBuilder(byte_level(with_tool(way)))
    refusals = []
    for text in SENTENCES:
        try:
            written = builder.render(talk(), tools=[tool_of(text)])
        except PromptError as error:
            refusals.append(str(error))
        else:
            assert written == by_transformers(with_tool(way), tool_of(text))
    assert refusals
    assert all("pass a chat_template" in refusal.lower() for refusal in refusals)


@pytest.mark.parametrize(
    "change", ["| wordwrap(24)", "| truncate(24)", "~ (m['content'] | length)"]
)
def test_no_preference_is_wrapped_or_cut_in_silence(change):
    template = CHATML.replace("m['content']", f"m['content'] {change}")
    builder = PromptBuilder(byte_level(template))
    with pytest.raises(PromptError, match="chat_template"):
        builder.contexts(talk(), [None, "Speak as a pirate would speak at sea"])


@pytest.mark.parametrize("written", ["[CONTENT]", "CONTENT | tojson(ensure_ascii=true)"])
@pytest.mark.parametrize("system", ["Be brief.", "It's", 'Say "so"', "[INST]"])
def test_system_texts_and_preferences_are_spelled_as_the_template_spells_them(written, system):
    template = CHATML.replace("m['content']", written.replace("CONTENT", "m['content']"))
    builder = PromptBuilder(byte_level(template))
    for preference in ("Speak", "It's\nso é", 'Say "so"', "'\"\n\n // [INST] "):
        expected = builder.render(talk(f"{system}\n\n{preference}"))
        assert builder.render(talk(system), preference) == expected


@pytest.mark.parametrize("special", ["type", "description"])
def test_the_name_that_a_sorting_template_skips_is_the_one_in_the_error(special):
    skips = (
        f"{{% for key, it in {PARAMETERS}.properties | dictsort %}}"
        "{% if key not in ['type', 'description'] %}[{{ key }}:{{ it.type }}]{% endif %}"
        "{% endfor %}"
    )
    builder = PromptBuilder(byte_level(with_tool(skips)))
    names = ["alpha", "beta", "gamma", "zeta"]
    held = {name: {"type": "string", "description": "D"} for name in names}
    assert "[zeta:string]" in builder.render(talk(), tools=[tool_of("D", **held)])
    held[special] = {"type": "string", "description": "D"}
    for _ in range(2):
        with pytest.raises(PromptError, match=f"the name '{special}'"):
            builder.render(talk(), tools=[tool_of("D", **held)])
