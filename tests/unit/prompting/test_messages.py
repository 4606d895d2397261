from __future__ import annotations

import subprocess
import sys

import pytest

from amulet_integrations.errors import PromptError, UnknownArgumentError
from amulet_integrations.prompting import (
    ChatMessage,
    JsonOutput,
    PromptBuilder,
    Tool,
    ToolCall,
)
from tests.unit.prompting.models import CHATML, byte_level
from tests.unit.prompting.tools.tool_models import MISTRAL_V3, QWEN

HELLO = [ChatMessage(role="user", content="Hello")]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"role": "critic", "content": "x"}, "critic"),
        ({"role": "user", "content": 5}, "content=5"),
        ({"role": "user", "content": b"bytes"}, "content"),
        ({"role": "user", "content": "\ud800"}, "content"),
        ({"role": "user", "content": "x", "contents": "y"}, "content"),
    ],
)
def test_a_bad_message_is_refused_and_its_fault_named(fields, named):
    with pytest.raises((PromptError, UnknownArgumentError), match=named) as caught:
        ChatMessage(**fields)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "empty"),
        ([("system", "Be kind.")], "system"),
        ([("assistant", "Hi.")], "assistant"),
        ([("user", " \n"), ("assistant", "Hi.")], "blank"),
    ],
)
def test_a_conversation_in_which_no_user_speaks_is_refused(messages, named):
    conversation = [ChatMessage(role=role, content=content) for role, content in messages]
    with pytest.raises(PromptError, match=named):
        PromptBuilder(byte_level()).contexts(conversation, [None])


QUESTION = ChatMessage(role="user", content="What time is it?")
CALLED = ChatMessage(
    role="assistant",
    content="",
    tool_calls=(
        ToolCall(name="clock", arguments={"secret": "MARS"}, id="call-1"),
        ToolCall(name="weather", arguments={"secret": "MARS"}, id="call-2"),
    ),
)


def tool(content: str = "MARS", **fields) -> ChatMessage:
    return ChatMessage(role="tool", content=content, **fields)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        (
            [QUESTION, CALLED, tool(tool_call_id="call-7")],
            r"messages\[2\].*'call-7'.*call-1', 'call-2",
        ),
        ([QUESTION, tool(tool_call_id="call-1"), CALLED], r"messages\[1\].*'call-1'.*none"),
        ([QUESTION, tool()], r"messages\[1\].*names no call.*none.*tool_call_id"),
        ([QUESTION, CALLED, tool(), tool(), tool()], r"messages\[4\].*names no call"),
        ([QUESTION, CALLED, tool(name="compass")], "'compass'.*'clock', 'weather'"),
        ([QUESTION, CALLED, tool(name="clock"), tool(name="clock")], r"messages\[3\].*'clock'"),
        (
            [QUESTION.model_copy(update={"tool_calls": CALLED.tool_calls})],
            r"messages\[0\].*tool_calls",
        ),
        ([QUESTION, tool(tool_calls=CALLED.tool_calls)], r"messages\[1\].*tool_calls.*'assistant'"),
        ([QUESTION.model_copy(update={"tool_call_id": "call-1"})], r"messages\[0\].*tool_call_id"),
        ([QUESTION.model_copy(update={"reasoning": "MARS"})], r"messages\[0\].*reasoning"),
    ],
)
@pytest.mark.parametrize("template", [CHATML, QWEN], ids=["chatml", "qwen"])
def test_calls_and_results_that_do_not_fit_are_refused(template, messages, named):
    with pytest.raises(PromptError, match=f"(?s){named}") as caught:
        PromptBuilder(byte_level(template)).contexts(messages, [None])
    assert "MARS" not in str(caught.value)


@pytest.mark.parametrize(
    "results",
    [
        [tool("noon"), tool("rain")],
        [tool("rain", name="weather"), tool("noon")],
        [tool("rain", name="weather"), tool("noon", name="clock")],
        [tool("noon", tool_call_id="call-1"), tool("rain")],
        [tool("rain", tool_call_id="call-2"), tool("noon")],
        [tool("rain", tool_call_id="call-2", name="clock"), tool("noon")],
    ],
)
def test_results_without_an_id_answer_in_order_or_by_name(results):
    text = PromptBuilder(byte_level(MISTRAL_V3)).render([QUESTION, CALLED, *results])
    assert '{"content": noon, "call_id": "call00000"}' in text
    assert '{"content": rain, "call_id": "call00001"}' in text


def test_a_result_may_come_again_under_its_id():
    results = [tool("noon", tool_call_id="call-1"), tool("one", tool_call_id="call-1")]
    text = PromptBuilder(byte_level(MISTRAL_V3)).render([QUESTION, CALLED, *results])
    assert '{"content": one, "call_id": "call00000"}' in text


@pytest.mark.parametrize("template", [CHATML, QWEN, None], ids=["chatml", "qwen", "plain"])
@pytest.mark.parametrize(
    ("value", "named"),
    [(object(), "object"), ({1: "MARS"}, "no strings"), ({"MARS"}, "set"), ("\ud800", "surrogate")],
)
def test_what_is_no_json_is_refused(template, value, named):
    builder = PromptBuilder(byte_level(template))
    called = ChatMessage(
        role="assistant", content="", tool_calls=[ToolCall(name="x", arguments={"y": [value]})]
    )
    inputs = [
        {"messages": [QUESTION, called]},
        {"messages": [QUESTION], "tools": [Tool(name="x", parameters={"default": value})]},
        {"messages": [QUESTION], "json_output": JsonOutput(json_schema={"default": value})},
        {"messages": [QUESTION], "chat_template_kwargs": {"documents": [value]}},
    ]
    for kwargs in inputs:
        with pytest.raises(PromptError, match=named) as caught:
            builder.render(**kwargs)
        assert "MARS" not in str(caught.value)


def test_arguments_stay_out_of_what_is_printed():
    assert "MARS" not in repr(CALLED)
    assert "MARS" not in repr(ChatMessage(role="assistant", content="", reasoning="MARS"))
    with pytest.raises(PromptError) as caught:
        ChatMessage(role="assistant", content="", tool_calls=[{"name": "x", "arguments": "MARS"}])
    assert "MARS" not in str(caught.value)


@pytest.mark.parametrize("preference", ["", "  \n", 3, "half \ud83d"])
def test_a_preference_that_cannot_stand_in_a_prompt_is_refused(preference):
    with pytest.raises(PromptError, match="preference"):
        PromptBuilder(byte_level()).contexts(HELLO, [None, preference])


def test_a_blank_default_system_text_is_refused():
    with pytest.raises(PromptError, match="default_system=' '"):
        PromptBuilder(byte_level(), default_system=" ")


def test_several_templates_without_a_default_are_refused_unless_one_is_named():
    tokenizer = byte_level()
    tokenizer.chat_template = {"rag": CHATML, "tools": CHATML}
    with pytest.raises(PromptError, match="rag"):
        PromptBuilder(tokenizer)
    named = PromptBuilder(tokenizer, chat_template="rag")
    assert named.contexts(HELLO, [None]) == PromptBuilder(byte_level()).contexts(HELLO, [None])


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys; from amulet_integrations.prompting import ChatMessage, PromptBuilder; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
