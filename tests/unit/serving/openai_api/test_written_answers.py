"""What becomes of what a model writes: calls, broken calls, thoughts, JSON; and of messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CHATML, tiny_tokenizer
from tests.unit.serving.openai_api.conftest import make_app
from tests.unit.serving.openai_api.test_answers import events_of, folded, strict

UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {"type": "object", "properties": {"v": UNIQUE}},
        },
    }
]


def call(text: str, end: str = "\n</tool_call>") -> str:
    return f"<tool_call>\n{text}{end}"


def add(numbers: Sequence[int]) -> str:
    return call(json.dumps({"name": "add", "arguments": {"v": numbers}}))


def ask(engine: ScriptedEngine, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole answer, and what the stream of the same adds up to."""
    messages = [{"role": "user", "content": "1 and 2?"}]
    asked = {"model": "tiny", "messages": messages, **body}
    with TestClient(make_app(engine), base_url="http://127.0.0.1") as http:
        whole = http.post("/v1/chat/completions", json=asked)
        assert whole.status_code == 200, whole.text
        strict(ChatCompletion, whole.json())
        events = events_of(http.post("/v1/chat/completions", json={**asked, "stream": True}))
    for event in events:
        strict(ChatCompletionChunk, event)
    (streamed,) = folded(events)
    (choice,) = whole.json()["choices"]
    assert streamed["content"] == (choice["message"]["content"] or "")
    assert streamed["reason"] == choice["finish_reason"]
    assert [(it["name"], it["args"]) for it in streamed["calls"].values()] == [
        (it["function"]["name"], it["function"]["arguments"])
        for it in choice["message"].get("tool_calls", ())
    ]
    return whole.json(), events[-1]


CUTS = pytest.mark.parametrize("cut", [list, lambda text: [text]], ids=["letters", "whole"])


@CUTS
def test_calls_are_told_apart_and_come_after_the_text(cut):
    text = "Let me see.\n" + add([1, 2]) + "\n" + add([3])
    answer, _ = ask(ScriptedEngine(cut(text)), tools=TOOLS)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    calls = choice["message"]["tool_calls"]
    assert [json.loads(it["function"]["arguments"]) for it in calls] == [{"v": [1, 2]}, {"v": [3]}]
    assert len({it["id"] for it in calls}) == 2


@CUTS
@pytest.mark.parametrize(
    ("text", "content", "arguments", "reason"),
    [
        (
            call('{"name": "drop", "arguments": {}}'),
            '{"name": "drop", "arguments": {}}',
            [],
            "stop",
        ),
        (call("add(1)"), "add(1)", [], "stop"),
        # As in OpenAI's API, whoever makes the call reads its arguments before.
        (call('{"name": "add", "arguments": {"v": [1', ""), None, ['{"v": [1'], "tool_calls"),
        (add([1, 1]), None, ['{"v": [1, 1]}'], "tool_calls"),
    ],
)
def test_of_a_call_that_cannot_be_made_nothing_is_lost(cut, text, content, arguments, reason):
    answer, last = ask(ScriptedEngine(cut(text)), tools=TOOLS)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == content
    calls = choice["message"].get("tool_calls", [])
    assert [it["function"]["arguments"] for it in calls] == arguments
    assert choice["finish_reason"] == reason
    (invalid,) = answer["amulet"]["invalid_tool_calls"]
    assert invalid["error"]
    assert last["amulet"]["invalid_tool_calls"] == [invalid]


def test_json_that_fails_what_a_grammar_cannot_enforce_is_returned_as_it_is():
    schema = {"type": "object", "properties": {"v": UNIQUE}, "required": ["v"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    answer, _ = ask(ScriptedEngine(list('{"v": [1, 1]}')), response_format=wanted)
    assert answer["choices"][0]["message"]["content"] == '{"v": [1, 1]}'


class Thinker(ScriptedEngine):
    """A model that may think before it answers."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts)
        thought = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
        template = CHATML.replace("{{ m['content'] }}", thought + "{{ m['content'] }}")
        self.tokenizer = tiny_tokenizer(template)


def test_thoughts_are_apart_from_the_answer_and_can_be_sent_back():
    engine = Thinker(*"<think>Hm, so.</think>Yes.")
    answer, _ = ask(engine)
    message = answer["choices"][0]["message"]
    assert message["content"] == "Yes."
    assert message["reasoning_content"] == "Hm, so."
    again = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "Sure?"}]
    ask(engine, messages=again)
    shown = engine.tokenizer.decode(engine.requests[-1].contexts[0])
    assert "<think>Hm, so.</think>Yes." in shown


def test_messages_are_written_with_their_roles_and_parts():
    engine = ScriptedEngine()
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    ask(
        engine,
        messages=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": None, "refusal": "Really not."},
            {"role": "user", "content": "Please."},
        ],
    )
    shown = engine.tokenizer.decode(engine.requests[-1].contexts[0])
    for turn in (
        "<|im_start|>system\nBe kind.<|im_end|>",
        "<|im_start|>user\nOne.\nTwo.<|im_end|>",
        "<|im_start|>assistant\nNo.<|im_end|>",
        "<|im_start|>assistant\nReally not.<|im_end|>",
        "<|im_start|>user\nPlease.<|im_end|>",
    ):
        assert turn in shown


def test_chat_template_variables_reach_the_template():
    engine = ScriptedEngine()
    engine.tokenizer = tiny_tokenizer("{{ mood | default('calm') }} " + CHATML)
    ask(engine, chat_template_kwargs={"mood": "merry"})
    assert engine.tokenizer.decode(engine.requests[-1].contexts[0]).startswith("merry")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("shared", [True, False])
def test_users_share_computed_prefixes_only_where_the_operator_allows_it(path, shared):
    engine = ScriptedEngine()
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    asked = {"model": "tiny", **(asked if "chat" in path else {"prompt": "Hi"})}
    app = make_app(engine, share_prefixes=shared)
    with TestClient(app, base_url="http://127.0.0.1") as http:
        for user in ("ann", "bob", "ann", None):
            assert http.post(path, json={**asked, "user": user}).status_code == 200
    salts = [request.cache_salt for request in engine.requests[-4:]]
    if shared:
        assert salts == [None] * 4
    else:
        assert salts[0] == salts[2]
        assert len({*salts, None}) == 4
