"""A conversation with tools, and the same as a chat template is given it by hand."""

from __future__ import annotations

import json

from amulet_integrations.prompting import ChatMessage, Tool, ToolCall
from tests.unit.prompting import models
from tests.unit.prompting.tools import tool_models

PREFERENCE = "Answer like a pirate."
SYSTEM = ChatMessage(role="system", content="Be brief.")
QUESTION = ChatMessage(role="user", content="Weather in Rome and Oslo?")
ROME = ToolCall(name="weather", arguments={"city": "Rome", "days": 2}, id="call_0bX-rome")
OSLO = ToolCall(name="weather", arguments={"city": "Ösló", "units": ["°C"]}, id="call_0bX-oslo")
CALLS = ChatMessage(role="assistant", content="", tool_calls=(ROME, OSLO))
SUN = ChatMessage(role="tool", content="sun", tool_call_id=ROME.id)
RAIN = ChatMessage(role="tool", content='"rain"\n{}', tool_call_id=OSLO.id)
TALK = [SYSTEM, QUESTION, CALLS, SUN, RAIN]

TOOL = Tool(
    name="weather",
    description="Looks the weather up.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Where"}},
        "required": ["city"],
    },
)
TIME = Tool(name="time.now", description="Tells the time.")
TOOLS = [TOOL, TIME]

NATIVE = {
    "qwen": tool_models.QWEN,
    "llama": tool_models.LLAMA,
    "mistral-v3": tool_models.MISTRAL_V3,
    "mistral-v11": tool_models.MISTRAL_V11,
}
WITHOUT = {
    "chatml": models.CHATML,
    "llama-without": models.LLAMA3,
    "qwen3": models.QWEN3,
    "gemma": models.GEMMA,
    "mistral": models.MISTRAL,
    "foreign": tool_models.FOREIGN,
    "plain": None,
}


def shape(tool: Tool) -> dict:
    return {"type": "function", "function": tool.model_dump()}


def call(number: int, made: ToolCall, *, as_text: bool = False) -> dict:
    arguments = made.arguments
    if as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": made.name, "arguments": arguments}
    return {"id": f"call{number:05d}", "type": "function", "function": function}


def calls(*calls_: dict, content: str = "") -> dict:
    return {"role": "assistant", "content": content, "tool_calls": list(calls_)}


def result(number: int, content: str) -> dict:
    return {"role": "tool", "content": content, "tool_call_id": f"call{number:05d}"}


def rendered(tokenizer, turns, tools=(), **options) -> str:
    """What the tokenizer itself makes of it."""
    return tokenizer.apply_chat_template(
        turns,
        tools=[shape(tool) for tool in tools] or None,
        tokenize=False,
        add_generation_prompt=True,
        **options,
    )


def by_hand(name: str, tokenizer, system: str, messages, tools) -> str:
    """The prompt of system, question, two calls (without text) and their results."""
    question, calling, one, two = (message.content for message in messages)
    first, second = messages[1].tool_calls
    assert calling == ""
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    if name == "mistral-v3":
        turns = [{"role": "user", "content": f"{system}\n\n{question}"}]
    if name == "llama":
        turns += [calls(call(0, first)), result(0, one), calls(call(1, second)), result(1, two)]
    else:
        as_text = name == "mistral-v11"
        both = [call(0, first, as_text=as_text), call(1, second, as_text=as_text)]
        turns += [calls(*both), result(0, one), result(1, two)]
    return rendered(tokenizer, turns, tools)
