"""Requests: every parameter of OpenAI's has been decided on, and nothing is dropped in silence."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from fastapi.testclient import TestClient
from openai.types import completion_create_params
from openai.types.chat import chat_completion_assistant_message_param as assistant_param
from openai.types.chat import chat_completion_content_part_text_param as text_param
from openai.types.chat import chat_completion_stream_options_param as stream_param
from openai.types.chat import chat_completion_tool_message_param as tool_param
from openai.types.chat import completion_create_params as chat_params
from openai.types.shared_params import function_definition
from pydantic import ValidationError

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.serving import ServerSettings
from amulet_integrations.serving.openai_api.requests import request_messages as messages
from amulet_integrations.serving.openai_api.requests.chat_request import ChatRequest
from amulet_integrations.serving.openai_api.requests.completion_request import CompletionRequest
from amulet_integrations.serving.openai_api.requests.generation_options import (
    GenerationOptions,
    StreamOptions,
)
from amulet_integrations.serving.openai_api.requests.output_fields import FunctionDefinition
from amulet_integrations.serving.profile_api.explain_routes import ExplainBody
from amulet_integrations.serving.profile_api.history_routes import RestoreBody
from tests.unit.serving.openai_api.conftest import make_app

HI = [{"role": "user", "content": "Hi"}]


def nested(depth: int) -> list[Any]:
    """A list in a list in a list and so on."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def called_with(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a call and its result."""
    function = {"name": "f", "arguments": json.dumps(arguments)}
    call = {"id": "1", "type": "function", "function": function}
    return [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ChatRequest, chat_params.CompletionCreateParamsStreaming),
        (CompletionRequest, completion_create_params.CompletionCreateParamsStreaming),
        (StreamOptions, stream_param.ChatCompletionStreamOptionsParam),
        (FunctionDefinition, function_definition.FunctionDefinition),
        (messages.AssistantMessage, assistant_param.ChatCompletionAssistantMessageParam),
        (messages.ToolMessage, tool_param.ChatCompletionToolMessageParam),
        (messages.TextPart, text_param.ChatCompletionContentPartTextParam),
    ],
)
def test_every_parameter_of_openais_has_been_decided_on(ours: Any, theirs: Any):
    assert get_type_hints(theirs).keys() <= ours.model_fields.keys()


@pytest.mark.parametrize("ours", [ChatRequest, CompletionRequest])
def test_what_has_no_effect_and_what_is_refused_are_parameters(ours: Any):
    assert not ours.accepted.keys() & ours.neutral.keys()
    assert {*ours.accepted, *ours.neutral} <= ours.model_fields.keys()


# One value that would change the answer, and one that would not.
REFUSED = {
    "audio": ({"voice": "alloy", "format": "mp3"}, None),
    "frequency_penalty": (0.5, 0),
    "function_call": ({"name": "f"}, "none"),
    "functions": ([{"name": "f"}], []),
    "logit_bias": ({"5": 3}, {}),
    "modalities": (["audio"], ["text"]),
    "moderation": ({"model": "m"}, None),
    "presence_penalty": (-0.5, 0.0),
    "reasoning_effort": ("high", "medium"),
    "verbosity": ("low", "medium"),
    "web_search_options": ({}, None),
    "service_tier": ("priority", "auto"),
    "store": (True, False),
}


@pytest.mark.parametrize("name", sorted({*REFUSED, *ChatRequest.neutral}))
def test_what_would_change_the_answer_is_refused_and_its_neutral_value_is_not(chat, name):
    other, neutral = REFUSED[name]
    refused = chat(**{name: other})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert chat(**{name: neutral}, max_tokens=1).status_code == 200


# What chat front ends send beside the model and the messages, at their defaults.
FRONT_ENDS = {
    "every_setting_at_its_default": {
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "n": 1,
        "user": "65f1c0ffee",
        "stop": None,
        "seed": None,
        "tools": None,
        "reasoning_effort": "medium",
        "metadata": {"chat": "1"},
    },
    "both_names_of_a_limit": {"max_tokens": 4, "max_completion_tokens": 4},
    "settings_of_tools_without_tools": {
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    },
    "a_title_without_a_stream": {"stream": False, "stream_options": {"include_usage": True}},
    "options_of_vllm": {
        "top_k": -1,
        "min_p": 0,
        "repetition_penalty": 1,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": False},
    },
    "a_seed_of_all_64_bits": {"seed": -1, "temperature": 1},
}


@pytest.mark.parametrize("sent", FRONT_ENDS.values(), ids=FRONT_ENDS)
def test_what_front_ends_send_by_default_is_answered(chat, sent):
    response = chat(**{"max_tokens": 1, "max_completion_tokens": None, **sent})
    assert response.status_code == 200, response.text


def test_whole_numbers_may_be_written_with_a_point(chat, http):
    numbers = {
        "max_tokens": 4,
        "max_completion_tokens": 4,
        "n": 2,
        "seed": 7,
        "top_k": 8,
        "min_tokens": 1,
        "top_logprobs": 2,
    }
    sampled = {"logprobs": True, "temperature": 1}
    answers = [
        chat(**sampled, **written).json()
        for written in (numbers, {name: float(it) for name, it in numbers.items()})
    ]
    assert answers[0]["choices"] == answers[1]["choices"]
    asked = {"model": "tiny", "prompt": "Hi", "max_tokens": 2.0, "logprobs": 1.0}
    assert http.post("/v1/completions", json=asked).json()["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_minus_one_token_is_no_limit_of_the_request(chat, name):
    answers = [chat(**sent).json() for sent in ({}, {name: -1})]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"] == answers[1]["usage"]


def test_histories_that_front_ends_send_back_are_answered(chat):
    marked = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "system", "content": [marked]},
        {"role": "user", "content": [marked], "tool_calls": None, "id": None},
        {"role": "assistant", "content": "Hello.", "reasoning": "A greeting.", "tool_calls": []},
        {"role": "user", "content": "And now?"},
    ]
    assert chat(messages=history, max_tokens=1).status_code == 200


@pytest.mark.parametrize("name", sorted({*ChatRequest.model_fields, "keep_alive"} - {"model"}))
def test_null_is_what_is_left_out(chat, name):
    plain = chat(max_tokens=1).json()
    response = chat(**{"max_tokens": 1, name: None})
    if name == "messages":
        assert response.status_code == 400
    elif name != "max_tokens":
        assert response.json()["choices"] == plain["choices"]
        assert "ignored" not in response.json()["amulet"]


def test_null_is_what_is_left_out_of_preferences_and_of_what_a_call_is_about(chat):
    amulet = {"preference": {"text": "Be brief."}, "preference_context": {"task": "email"}}
    plain = chat(amulet=amulet, max_tokens=4).json()
    amulet["preference"] |= {"weight": None, "when": None, "name": None, "valid_from": None}
    amulet["preference_context"]["topic"] = None
    nulls = chat(amulet={**amulet, "preset": None, "strenght": None}, max_tokens=4).json()
    assert nulls["choices"] == plain["choices"]
    mean = {"mean_guidance_scale": pytest.approx(plain["amulet"]["mean_guidance_scale"])}
    assert nulls["amulet"] == plain["amulet"] | mean


def test_the_answer_names_what_had_no_effect(chat):
    sent = {
        "metadata": {"a": "b"},
        "store": False,
        "safety_identifier": "x",
        "prompt_cache_key": "y",
        "service_tier": "auto",
        "prediction": {"type": "content", "content": "z"},
    }
    answer = chat(**sent, max_tokens=1).json()
    assert answer["amulet"]["ignored"] == sorted(sent)
    plain = chat(max_tokens=1).json()
    assert plain["choices"] == answer["choices"]
    assert "ignored" not in plain["amulet"]


def test_what_the_operator_lets_pass_is_ignored_and_named(tiny_engine, http):
    app = make_app(tiny_engine, ignored_parameters=("chat_id", "session_id"))
    client = TestClient(app, base_url="http://127.0.0.1")
    for path, asked in (
        ("/v1/chat/completions", {"messages": HI}),
        ("/v1/completions", {"prompt": "Hi"}),
    ):
        sent = {"model": "tiny", "max_tokens": 2, **asked}
        plain = client.post(path, json=sent).json()
        answer = client.post(path, json={**sent, "session_id": {"a": [1]}, "chat_id": "c"}).json()
        assert answer["choices"] == plain["choices"]
        assert answer["amulet"]["ignored"] == ["chat_id", "session_id"]
        assert "ignored" not in plain["amulet"]
        assert "ignored" not in client.post(path, json={**sent, "chat_id": None}).json()["amulet"]
        for refused in (
            client.post(path, json={**sent, "message_id": "m"}),
            client.post(path, json={**sent, "amulet": {"chat_id": "c"}}),
            http.post(path, json={**sent, "chat_id": "c"}),  # another server's operator
        ):
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] == "unknown_parameter"


@pytest.mark.parametrize("name", ["model", "stop", "tools", "suffix", "metadata", "audio", ""])
def test_what_the_server_reads_cannot_be_ignored(name):
    with pytest.raises(InvalidParamsError, match="ignored_parameters"):
        ServerSettings(ignored_parameters=(name,))


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"temprature": 1}, "temprature", "temperature"),
        ({"guidance_scale": 2}, "guidance_scale", "amulet"),
        ({"preference": "Be brief."}, "preference", "amulet"),
        ({"amulet": {"guidance": 2}}, "amulet.guidance", "guidance_scale"),
        ({"amulet": {"preference": 2}}, "amulet.preference", "text"),
        ({"amulet": {"max_kl": -1}}, "amulet.max_kl", "0"),
        ({"amulet": {"gate": "nearness"}}, "amulet.gate", "similarity"),
        (
            {"amulet": {"gate": {"threshold": "0"}}},
            "amulet.gate.threshold",
            "number",
        ),
        ({"amulet": {"method": "magic"}}, "amulet.method", "linear_alignment"),
        ({"temperature": "1"}, "temperature", "number"),
        ({"temperature": -1}, "temperature", "0"),
        ({"temperature": True}, "temperature", "number"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"max_tokens": 2.5}, "max_tokens", "integer"),
        ({"max_tokens": True}, "max_tokens", "integer"),
        ({"max_tokens": -2}, "max_tokens", "1"),
        ({"n": True}, "n", "integer"),
        ({"top_k": 8.5}, "top_k", "integer"),
        ({"seed": 1e300}, "seed", "less"),
        ({"max_tokens": 129}, "max_tokens", "128"),
        ({"max_completion_tokens": 129}, "max_completion_tokens", "128"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "one"),
        ({"n": 5}, "n", "4"),
        ({"n": 0}, "n", "1"),
        ({"seed": 2**63}, "seed", "less"),
        ({"stop": ""}, "stop", "1 character"),
        ({"stop": [".", ""]}, "stop[1]", "1 character"),
        ({"chat_id": "c1"}, "chat_id", "Leave it out."),
        ({"stop": 3}, "stop", "string"),
        ({"stop": [3]}, "stop[0]", "string"),
        ({"stop": ["a", ""]}, "stop[1]", "1 character"),
        ({"top_k": -2}, "top_k", "-1"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "20"),
        ({"stream": True, "stream_options": {"usage": 1}}, "stream_options.usage", "include_usage"),
        ({"messages": []}, "messages", "1"),
        ({"messages": HI * 2049}, "messages", "2048"),
        ({"messages": [{}] * 2000}, "messages[0]", "role"),
        (
            {"chat_template_kwargs": {f"n{it}": it for it in range(65)}},
            "chat_template_kwargs",
            "64 items",
        ),
        ({"messages": "Hi"}, "messages", "list"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
        ({"messages": [*HI, {"role": "robot", "content": ""}]}, "messages[1]", "developer"),
        (
            {"messages": [{"role": "function", "name": "f", "content": "1"}]},
            "messages[0].role",
            "tool_call_id",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
            "text only",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "txt": "Hi"}]}]},
            "messages[0].content[0].txt",
            "text",
        ),
        ({"messages": [{**HI[0], "tool_calls": []}]}, "messages[0].tool_calls", "Unknown"),
        (
            {"messages": [{"role": "assistant", "function_call": {}}]},
            "messages[0].function_call",
            "tool_calls",
        ),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "function"),
        ({"response_format": {"type": "yaml"}}, "response_format", "json_schema"),
        ({"user": 3}, "user", "string"),
        ({"user": ""}, "user", "leave it out"),
    ],
)
def test_an_error_names_the_parameter_and_what_to_do(chat, body, param, said):
    response = chat(**body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert said in error["message"]


_WRONG: list[Any] = [{}] * 50


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ChatRequest, {"messages": _WRONG}),
        (ChatRequest, {"messages": [{"role": "user", "content": _WRONG}] * 50}),
        (ChatRequest, {"messages": [{"role": "system", "content": _WRONG}] * 50}),
        (ChatRequest, {"messages": [{"role": "assistant", "content": _WRONG}] * 50}),
        (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": _WRONG}] * 50}),
        (ChatRequest, {"messages": HI, "tools": _WRONG}),
        (ChatRequest, {"messages": HI, "stop": _WRONG}),
        (ChatRequest, {"messages": HI, **{f"x{number}": 1 for number in range(50)}}),
        (
            ChatRequest,
            {
                "messages": HI,
                "amulet": {"preference_context": {str(number): 1 for number in range(100)}},
            },
        ),
        (CompletionRequest, {"prompt": _WRONG}),
        (CompletionRequest, {"prompt": [""] * 50}),
        (ExplainBody, {"preference_context": {str(number): 1 for number in range(100)}}),
        (ExplainBody, {str(number): 1 for number in range(50)}),
        (RestoreBody, {"version": 1, **{str(number): 1 for number in range(50)}}),
    ],
)
def test_a_body_full_of_faults_is_not_read_to_its_end(model, body):
    # A list of all faults of two megabytes would keep every other request waiting for seconds.
    named = {"model": "tiny"} if issubclass(model, GenerationOptions) else {}
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**named, **body})
    assert caught.value.error_count() <= 5


GOOD = ["Be brief.", {"text": "Be kind."}]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"top_logprobs": 2}, "top_logprobs", "logprobs"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        (
            {"tools": [{"type": "function", "function": {"name": it}} for it in ("a", "a b")]},
            "tools[1].function.name",
            "name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format",
            "schema",
        ),
        (
            {"amulet": {"guidance_scale": 1e6, "preference": "Be brief."}},
            "amulet.guidance_scale",
            "guidance_scale",
        ),
        ({"amulet": {"guidance_scale": 2, "preset": "strong"}}, None, "preset"),
        ({"amulet": {"preference": "  "}}, "amulet.preference", "text"),
        ({"amulet": {"preference": [*GOOD, "  "]}}, "amulet.preference[2]", "text"),
        ({"amulet": {"preference": [*GOOD, {"text": ""}]}}, "amulet.preference[2].text", "text"),
        (
            {"amulet": {"preference": [*GOOD, {"text": "x", "weight": "y"}]}},
            "amulet.preference[2].weight",
            "weight",
        ),
        ({"amulet": {"preference": {"weight": 1}}}, "amulet.preference.text", "text"),
        (
            {"amulet": {"preference": {"text": "Be brief.", "wieght": 1}}},
            "amulet.preference.wieght",
            "weight",
        ),
        ({"amulet": {"preference": ["Be brief."] * 99}}, "amulet.preference", "64"),
        ({"user": "a\nb"}, "user", "user"),
        ({"chat_template_kwargs": {"x": nested(900)}}, None, "nested too deeply"),
        ({"messages": [*HI, *called_with({"x": nested(900)})]}, None, "nested too deeply"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages", "user message"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "blank"),
        ({"messages": [*HI, called_with({})[0]]}, "messages", "result of each call"),
        ({"response_format": {"type": "json_object"}, "max_tokens": 1}, "max_tokens", "tokens"),
        (
            {"response_format": {"type": "json_object"}, "max_completion_tokens": 1},
            "max_completion_tokens",
            "tokens",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_only_the_model_can_refuse_is_refused_in_the_same_form(
    chat, body, param, said, stream
):
    response = chat(**body, stream=stream)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert said in error["message"]


def test_what_is_stored_is_no_parameter_of_the_request(tiny_engine):
    app = make_app(tiny_engine, max_guidance_scale=2.0)
    asked = {"model": "tiny", "messages": HI, "user": "ann"}
    refused = TestClient(app, base_url="http://127.0.0.1").post("/v1/chat/completions", json=asked)
    assert refused.status_code == 400
    assert "max_guidance_scale" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] is None


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"\xff", "application/json", 400, "invalid_json"),
        (b"[" * 100_000, "application/json", 400, "invalid_json"),
        (b'{"n":' + b"1" * 5_000 + b"}", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_type"),
        (b"", "application/json", 400, "missing_required_parameter"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json", 400, "missing_required_parameter"),
    ],
)
def test_a_body_that_is_no_request_is_an_error_in_openais_form(
    http, content, content_type, status, code
):
    headers = {"Content-Type": content_type}
    response = http.post("/v1/chat/completions", content=content, headers=headers)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"n":' + b"1" * 5_000 + b"}", "4,300 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "UTF-8"),
    ],
    ids=["digits", "depth", "bytes"],
)
def test_the_error_of_a_body_that_cannot_be_read_says_why(http, content, said):
    headers = {"Content-Type": "application/json"}
    for method, path in (("POST", "chat/completions"), ("PUT", "profiles/ann")):
        response = http.request(method, f"/v1/{path}", content=content, headers=headers)
        assert said in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "place",
    [
        r'{"\ud800":1}',
        r'{"model":"\ud800"}',
        r'{"user":"\ud800"}',
        r'{"messages":[{"role":"\ud800"}]}',
        r'{"messages":[{"role":"user","content":"\ud800"}]}',
        r'{"amulet":{"preference":"\ud800"}}',
    ],
)
def test_halves_of_surrogate_pairs_are_refused_wherever_they_are(http, place):
    body = json.dumps({"model": "tiny", "messages": HI})[:-1] + "," + place[1:]
    headers = {"Content-Type": "application/json"}
    response = http.post("/v1/chat/completions", content=body.encode(), headers=headers)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v1/responses", 404, "/v1/chat/completions"),
        ("GET", "/v1/responses/resp_1", 404, "/v1/chat/completions"),
        ("POST", "/v1/embeddings", 404, "embeddings"),
        ("GET", "/v2/models", 404, "/v2/models"),
        ("GET", "/v1", 404, "/v1/models"),
        ("POST", "/v1/messages", 404, "/v1/chat/completions"),
        ("POST", "/chat/completions", 404, "end in /v1"),
        ("GET", "/models", 404, "end in /v1"),
        ("POST", "/v1/v1/chat/completions", 404, "twice"),
        ("GET", "/api/tags", 404, "not Ollama's"),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/models/tiny", 405, "GET"),
        ("POST", "/v1/profiles/ann", 405, "Use DELETE, GET, PATCH, PUT."),
        ("GET", "/v1/models/other/one", 404, "tiny"),
    ],
)
def test_other_paths_and_methods_are_errors_in_openais_form(http, method, path, status, said):
    response = http.request(method, path)
    assert response.status_code == status
    assert said in response.json()["error"]["message"]


def test_another_model_is_not_found(chat):
    response = chat(model="gpt-4o")
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_the_served_model_is_listed(http):
    listed = http.get("/v1/models").json()
    assert [it["id"] for it in listed["data"]] == ["tiny"]
    assert http.get("/v1/models/").json() == listed
    assert http.get("/v1/models/tiny").json() == listed["data"][0]
    assert listed["data"][0]["max_model_len"] == 640
