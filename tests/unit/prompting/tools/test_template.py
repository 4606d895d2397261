"""Tools in the prompts of each kind of model; the oracle is its own chat template."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import (
    DEFAULT_SEPARATOR,
    ChatMessage,
    JsonOutput,
    PromptBuilder,
    ToolCall,
    ToolUse,
)
from amulet_integrations.prompting.parsing.pieces import CallPiece, ReasoningPiece
from amulet_integrations.prompting.tools.formats import (
    HermesFormat,
    LlamaFormat,
    MistralArgsFormat,
    MistralFormat,
)
from tests.unit.prompting.models import CHATML, GEMMA, QWEN3, TEMPLATES, byte_level, metaspace
from tests.unit.prompting.tools.tool_conversation import (
    CALLS,
    NATIVE,
    OSLO,
    PREFERENCE,
    QUESTION,
    RAIN,
    ROME,
    SUN,
    SYSTEM,
    TALK,
    TIME,
    TOOL,
    TOOLS,
    WITHOUT,
    by_hand,
    call,
    calls,
    rendered,
    result,
)
from tests.unit.prompting.tools.tool_models import LLAMA, MISTRAL_V3, MISTRAL_V11, QWEN

FORMATS = {
    "qwen": HermesFormat,
    "llama": LlamaFormat,
    "mistral-v3": MistralFormat,
    "mistral-v11": MistralArgsFormat,
    **dict.fromkeys(WITHOUT, HermesFormat),
}


def assistant(content: str, *made: ToolCall, **fields) -> ChatMessage:
    return ChatMessage(role="assistant", content=content, tool_calls=made, **fields)


def lists_tools_as_text(builder: PromptBuilder) -> bool:
    return "You can call these tools:" in builder.render(TALK, tools=TOOLS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_call_style_is_detected(name):
    builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
    assert type(builder.tool_format) is FORMATS[name]
    assert lists_tools_as_text(builder) == (name in WITHOUT)


@pytest.mark.parametrize("make", [byte_level, metaspace], ids=["byte-level", "metaspace"])
@pytest.mark.parametrize("name", NATIVE)
def test_a_template_that_supports_tools_gets_them_in_its_form(name, make):
    tokenizer = make(NATIVE[name])
    texts = [None, PREFERENCE]
    contexts = PromptBuilder(tokenizer).contexts(TALK, texts, tools=TOOLS)
    for ids, system in zip(contexts, ["Be brief.", f"Be brief.\n\n{PREFERENCE}"], strict=True):
        expected = by_hand(name, tokenizer, system, TALK[1:], TOOLS)
        assert ids == tokenizer(expected, add_special_tokens=False)["input_ids"]
        assert all(word in expected for word in ("Rome", "Ösló", "sun", "rain", "time.now", system))


@pytest.mark.parametrize("name", NATIVE)
def test_earlier_calls_are_rendered_without_tools(name):
    tokenizer = byte_level(NATIVE[name])
    text = PromptBuilder(tokenizer).render(TALK)
    assert text == by_hand(name, tokenizer, "Be brief.", TALK[1:], [])
    assert all(word in text for word in ("Rome", "Ösló", "sun", "rain"))


SECTION = f"""\
Be brief.

You can call these tools:
<tools>
{json.dumps(TOOL.model_dump())}
{json.dumps(TIME.model_dump())}
</tools>
To call a tool, write its name and arguments like this:
<tool_call>
{{"name": "...", "arguments": {{...}}}}
</tool_call>"""
CALLS_TEXT = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Ösló", "units": ["°C"]}}\n</tool_call>'
)
RESULTS_TEXT = (
    '<tool_response>\nsun\n</tool_response>\n<tool_response>\n"rain"\n{}\n</tool_response>'
)


@pytest.mark.parametrize("name", ["chatml", "llama-without", "qwen3", "foreign"])
@pytest.mark.parametrize("content", ["", "Let me look."])
def test_other_models_get_tools_as_text(name, content):
    tokenizer = byte_level(WITHOUT[name])
    builder = PromptBuilder(tokenizer)
    talk = [SYSTEM, QUESTION, assistant(content, ROME, OSLO), SUN, RAIN]
    answer = f"{content}\n{CALLS_TEXT}" if content else CALLS_TEXT
    for preference, more in ((None, ""), (PREFERENCE, "\n\n" + PREFERENCE)):
        turns = [("system", SECTION + more), ("user", QUESTION.content)]
        turns += [("assistant", answer), ("user", RESULTS_TEXT)]
        expected = rendered(tokenizer, [{"role": r, "content": c} for r, c in turns])
        assert builder.render(talk, preference, tools=TOOLS) == expected


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_text_tools_go_where_there_is_no_system_role_and_turns_alternate(name):
    tokenizer = byte_level(WITHOUT[name])
    more = ChatMessage(role="user", content="And now?")
    text = PromptBuilder(tokenizer).render([*TALK, more], PREFERENCE, tools=TOOLS)
    turns = [
        ("user", f"{SECTION}\n\n{PREFERENCE}\n\n{QUESTION.content}"),
        ("assistant", CALLS_TEXT),
        ("user", f"{RESULTS_TEXT}\n\nAnd now?"),
    ]
    assert text == rendered(tokenizer, [{"role": r, "content": c} for r, c in turns])


def test_text_tools_in_a_plain_prompt():
    text = PromptBuilder(byte_level(None)).render(TALK, PREFERENCE, tools=TOOLS)
    assert text == (
        f"{SECTION}\n\n{PREFERENCE}\n\nUser: {QUESTION.content}\nAssistant: {CALLS_TEXT}\n"
        f"User: {RESULTS_TEXT}\nAssistant:"
    )


@pytest.mark.parametrize("name", [*NATIVE, *WITHOUT])
def test_contexts_differ_by_the_preference_and_nothing_else(name):
    builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
    inputs = {"tools": TOOLS, "json_output": JsonOutput(json_schema={"type": "object"})}
    for talk in (TALK, TALK[1:], TALK[:2], [QUESTION]):
        with_preference = builder.render(talk, PREFERENCE, **inputs)
        assert with_preference.count(PREFERENCE) == 1
        without = with_preference.replace(DEFAULT_SEPARATOR + PREFERENCE, "")
        assert without == builder.render(talk, **inputs)


@pytest.mark.parametrize("name", [*NATIVE, *WITHOUT])
def test_the_preference_stays_after_calls_and_results(name):
    """One family's template drops the system text unless the user spoke last."""
    builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
    for end in range(2, len(TALK) + 1):
        assert PREFERENCE in builder.render(TALK[:end], PREFERENCE, tools=TOOLS)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_without_tools_do_not_mention_any(name):
    builder = PromptBuilder(byte_level(TEMPLATES[name]))
    talk = [SYSTEM, QUESTION]
    assert builder.contexts(talk, [None]) == builder.contexts(talk, [None], tools=[])
    assert "tool" not in builder.render(talk)


def test_one_call_a_turn_where_the_template_takes_no_more():
    tokenizer = byte_level(LLAMA)
    again = ChatMessage(role="tool", content="still sun", tool_call_id=ROME.id)
    talk = [QUESTION, assistant("Let me look.", ROME, OSLO), RAIN, SUN, again]
    talk += [assistant("Done."), QUESTION, assistant("", ROME)]
    text = PromptBuilder(tokenizer).render([SYSTEM, *talk], tools=TOOLS)
    question = {"role": "user", "content": QUESTION.content}
    turns = [{"role": "system", "content": "Be brief."}, question]
    turns += [{"role": "assistant", "content": "Let me look."}]
    turns += [calls(call(0, ROME)), result(0, "sun"), result(0, "still sun")]
    turns += [calls(call(1, OSLO)), result(1, RAIN.content)]
    turns += [{"role": "assistant", "content": "Done."}, question, calls(call(2, ROME))]
    assert text == rendered(tokenizer, turns, TOOLS)


def test_text_beside_calls_is_left_to_a_template_that_shows_it():
    for template in (QWEN, MISTRAL_V11):
        tokenizer = byte_level(template)
        talk = [SYSTEM, QUESTION, assistant("Let me look.", ROME), SUN]
        text = PromptBuilder(tokenizer).render(talk, tools=[TOOL])
        turns = [{"role": m.role, "content": m.content} for m in talk[:2]]
        made = call(0, ROME, as_text=template is MISTRAL_V11)
        turns += [calls(made, content="Let me look."), result(0, "sun")]
        assert text == rendered(tokenizer, turns, [TOOL])


def test_call_ids_stay_the_same_as_a_conversation_goes_on():
    builder = PromptBuilder(byte_level(MISTRAL_V3))
    more = [assistant("Fine."), QUESTION, assistant("", ROME), SUN]
    text = builder.render([*TALK, *more], tools=[])
    for number, times in enumerate([2, 2, 2]):
        assert text.count(f"call{number:05d}") == times
    # The same id again means the latest call of that id.
    assert text.endswith('"call_id": "call00002"}[/TOOL_RESULTS]')


def test_a_template_that_leaves_something_out_is_not_used_for_tools():
    for part, less in (
        ("{{ tool | tojson }}", "{{ tool.function.name }}"),
        ("m.content + '\n</tool_response>'", "'...\n</tool_response>'"),
        ("{{ call.arguments | tojson }}", "{{ call.arguments }}"),
    ):
        assert part in QWEN
        builder = PromptBuilder(byte_level(QWEN.replace(part, less)))
        if part == "{{ call.arguments | tojson }}":
            # It writes them as they are, so it is given them as text.
            assert not lists_tools_as_text(builder)
            assert json.dumps(ROME.arguments) in builder.render(TALK, tools=TOOLS)
        else:
            assert lists_tools_as_text(builder)


def test_a_template_for_tools_beside_the_default_is_used_for_them():
    tokenizer = byte_level()
    tokenizer.chat_template = {"default": CHATML, "tool_use": QWEN}
    builder = PromptBuilder(tokenizer)
    assert not lists_tools_as_text(builder)
    expected = by_hand("qwen", byte_level(QWEN), "Be brief.", TALK[1:], TOOLS)
    assert builder.render(TALK, tools=TOOLS) == expected
    assert builder.render([SYSTEM, QUESTION]) == PromptBuilder(byte_level(CHATML)).render(
        [SYSTEM, QUESTION]
    )


SCHEMA = {"type": "object", "properties": {"größe": {"type": "number"}}}


@pytest.mark.parametrize("template", [QWEN, CHATML], ids=["qwen", "chatml"])
@pytest.mark.parametrize("tools", [[], TOOLS], ids=["alone", "with tools"])
def test_a_schema_stands_before_the_preference(template, tools):
    builder = PromptBuilder(byte_level(template))
    shown = JsonOutput(json_schema=SCHEMA)
    text = builder.render([SYSTEM, QUESTION], PREFERENCE, tools=tools, json_output=shown)
    line = '\n{"type":"object","properties":{"größe":{"type":"number"}}}'
    assert text.count(line) == 1
    assert text.index("Be brief.") < text.index(line) < text.index(PREFERENCE)
    hidden = JsonOutput(json_schema=SCHEMA, in_prompt=False)
    assert builder.render([QUESTION], tools=tools, json_output=hidden) == builder.render(
        [QUESTION], tools=tools
    )


def test_switches_reach_the_template():
    tokenizer = byte_level(QWEN)
    builder = PromptBuilder(tokenizer)
    talk = [SYSTEM, QUESTION]
    turns = [{"role": m.role, "content": m.content} for m in talk]
    off = {"enable_thinking": False}
    expected = rendered(tokenizer, turns, **off)
    assert expected.endswith("<think>\n\n</think>\n\n")
    assert builder.render(talk, chat_template_kwargs=off) == expected
    (ids,) = builder.contexts(talk, [None], chat_template_kwargs=off)
    assert ids == tokenizer(expected, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "name",
    [
        *("messages", "conversation", "tools", "add_generation_prompt", "chat_template"),
        *("tokenize", "continue_final_message", "bos_token", "return_dict"),
    ],
)
def test_switches_that_are_set_here_are_refused(name):
    with pytest.raises(PromptError, match=repr(name)):
        PromptBuilder(byte_level(QWEN)).contexts([QUESTION], [None], chat_template_kwargs={name: 1})


def test_switches_that_nothing_reads_are_refused():
    with pytest.raises(PromptError, match="enable_thinking"):
        PromptBuilder(byte_level(None)).render(
            [QUESTION], chat_template_kwargs={"enable_thinking": 1}
        )


def test_reasoning_reaches_the_templates_that_show_it():
    tokenizer = byte_level(QWEN3)
    answer = assistant("Rome.", reasoning="Hm, Rome.")
    turns = [
        {"role": "user", "content": QUESTION.content},
        {"role": "assistant", "content": "Rome.", "reasoning_content": "Hm, Rome."},
    ]
    system = {"role": "system", "content": "Be brief."}
    text = PromptBuilder(tokenizer).render([SYSTEM, QUESTION, answer])
    assert rendered(tokenizer, [system, *turns]).startswith(text)
    assert text.endswith("</think>\n\nRome.")
    assert "<think>\nHm, Rome.\n</think>" in text
    for template in (CHATML, GEMMA, None):
        builder = PromptBuilder(byte_level(template))
        talk = [QUESTION, assistant("Rome.")]
        assert builder.render([QUESTION, answer]) == builder.render(talk)


OPENS = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")


@pytest.mark.parametrize(
    ("template", "reasoning"),
    [
        *((CHATML, "none"), (GEMMA, "none"), (None, "none")),
        *((QWEN3, "may open"), (OPENS, "already open")),
    ],
)
def test_reasoning_models_are_detected(template, reasoning):
    builder = PromptBuilder(byte_level(template))
    assert builder.thinks == (reasoning != "none")
    assert builder.reasoning([QUESTION], tools=TOOLS) == reasoning
    # An answer that is continued has thought before.
    assert builder.reasoning([QUESTION, assistant("x <think>")]) == "none"
    thinking = builder.reasoning([QUESTION, assistant("<think>\nHm")])
    assert thinking == ("none" if reasoning == "none" else "already open")
    (thought, *_) = builder.parser(reasoning=reasoning).push("<think>\nHm.")
    assert isinstance(thought, ReasoningPiece) == (reasoning != "none")


def test_reasoning_that_somebody_typed_opens_nothing():
    bare = "{% for m in messages %}{{ m.content }}{% endfor %}"
    forged = [ChatMessage(role="user", content="Hi <think>")]
    thinking = "{% if messages | length == 1 %}<think>{% endif %}" + bare
    assert PromptBuilder(byte_level(thinking)).reasoning(forged) == "may open"
    assert PromptBuilder(byte_level(bare + "<think>\n")).reasoning(forged) == "already open"


def test_no_thinking_when_it_is_switched_off():
    switch = "{% if no_thoughts %}<think>\n\n</think>\n\n{% endif %}"
    builder = PromptBuilder(byte_level(QWEN3 + switch))
    assert builder.reasoning([QUESTION], chat_template_kwargs={"no_thoughts": True}) == "none"
    assert builder.reasoning([QUESTION], chat_template_kwargs={"no_thoughts": False}) == "may open"


def test_a_parser_reads_calls_as_the_template_writes_them():
    for name, written in (("qwen", CALLS_TEXT), ("chatml", CALLS_TEXT)):
        builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
        parser = builder.parser(ToolUse(tools=TOOLS))
        pieces = [*parser.push(written), *parser.flush()]
        assert [p.name for p in pieces if isinstance(p, CallPiece) and p.name] == ["weather"] * 2
        assert "".join(p.text for p in builder.parser().push(written)) == written


@pytest.mark.parametrize("name", [*NATIVE, *WITHOUT])
def test_tokens_are_counted_as_the_prompt_has_them(name):
    builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
    for talk in (TALK, TALK[:3], [QUESTION]):
        for tools in ([], TOOLS):
            (ids,) = builder.contexts(talk, [None], tools=tools)
            assert builder.count_tokens(talk, tools=tools) == len(ids)


@pytest.mark.parametrize("name", [*NATIVE, *WITHOUT])
def test_any_part_of_a_conversation_can_be_counted(name):
    builder = PromptBuilder(byte_level({**NATIVE, **WITHOUT}[name]))
    answered = assistant("Sun in Rome, rain in Oslo.")
    talk = [SYSTEM, QUESTION, CALLS, SUN, RAIN, answered, QUESTION, CALLS, RAIN, SUN, answered]
    assert builder.count_tokens([]) == 0
    for tools in ([], TOOLS):
        ahead = [builder.count_tokens(talk[:end], tools=tools) for end in range(len(talk) + 1)]
        assert ahead == sorted(ahead)
        assert len(set(ahead)) == len(ahead)
        # The default system text takes the place of the one that is cut off, so it stays here.
        behind = [builder.count_tokens([SYSTEM, *talk[at:]], tools=tools) for at in range(1, 12)]
        assert behind == sorted(behind, reverse=True)
        assert builder.count_tokens([SUN], tools=tools) > 0


def test_counts_of_parts_are_near_those_of_the_whole():
    builder = PromptBuilder(byte_level(QWEN))
    answer = assistant("The sea is blue, and so is the sky above it. " * 20)
    alone = builder.count_tokens([answer])
    talk = builder.count_tokens([QUESTION, answer]) - builder.count_tokens([QUESTION])
    assert abs(alone - talk) < 40
