"""Answers: the tokens are those of the wrappers, and the form is OpenAI's."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from threading import current_thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from amulet_integrations import PreferenceProfile, SamplingParams
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.serving.openai_api.answers.chat_answer import ChatFormat
from tests.unit.serving.openai_api.conftest import ANN, make_app

QUESTION = "What is the sea?"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOUR}}


def events_of(response: Any) -> list[dict[str, Any]]:
    """The events of a stream, which ends with [DONE]."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def folded(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices that the chunks of a stream add up to."""
    choices: dict[int, dict[str, Any]] = defaultdict(
        lambda: {"content": "", "calls": {}, "logprobs": [], "tokens": [], "reason": None}
    )
    for event in events:
        for part in event["choices"]:
            choice = choices[part["index"]]
            assert choice["reason"] is None, "a chunk after the end"
            choice["content"] += part["delta"].get("content") or ""
            for call in part["delta"].get("tool_calls", ()):
                if "id" in call:
                    name = call["function"]["name"]
                    choice["calls"][call["index"]] = {"id": call["id"], "name": name, "args": ""}
                choice["calls"][call["index"]]["args"] += call["function"]["arguments"]
            choice["logprobs"] += (part["logprobs"] or {}).get("content", [])
            choice["tokens"] += event.get("amulet", {}).get("tokens", [])
            choice["reason"] = part["finish_reason"]
    return [choices[index] for index in sorted(choices)]


def strict(kind: type[BaseModel], value: dict[str, Any]) -> None:
    """Checks a value against OpenAI's type, whose own fields may hold no others."""
    own = {name: it for name, it in value.items() if name != "amulet"}
    kind.model_validate(own, strict=True)
    assert own.keys() <= kind.model_fields.keys()


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({}, {}),
        ({"user": "ann"}, {"profile": ANN}),
        ({"user": "nobody-knows"}, {}),
        ({"amulet": {"preference": "Be brief."}}, {"preference": "Be brief."}),
        ({"user": "ann", "amulet": {"preference": "Be brief."}}, {"preference": "Be brief."}),
        ({"user": "ann", "amulet": {"preference": []}}, {}),
        (
            {"amulet": {"preference": ["Be brief.", {"text": "Be kind.", "weight": -0.5}]}},
            {
                "profile": PreferenceProfile(
                    user_id="x", preferences=["Be brief.", {"text": "Be kind.", "weight": -0.5}]
                )
            },
        ),
        (
            {
                "amulet": {
                    "preference": {"text": "Be brief.", "when": {"task": "mail"}},
                    "preference_context": {"task": "talk"},
                }
            },
            {},
        ),
        (
            {"user": "ann", "amulet": {"guidance_scale": 1.5, "max_kl": None}},
            {"profile": ANN, "guidance_scale": 1.5, "max_kl": None},
        ),
        (
            {"user": "ann", "amulet": {"gate": {"threshold": 1.0}}},
            {"profile": ANN, "gate": {"threshold": 1.0}},
        ),
        ({"user": "ann", "amulet": {"gate": "similarity"}}, {"profile": ANN, "gate": "similarity"}),
        (
            {"user": "ann", "amulet": {"method": "pref"}},
            {"profile": ANN, "method": "pref"},
        ),
        (
            {"temperature": 1.5, "seed": 7, "top_p": 0.9, "top_k": 40, "min_p": 0.01},
            {"temperature": 1.5, "seed": 7, "top_p": 0.9, "top_k": 40, "min_p": 0.01},
        ),
        ({"temperature": 1.5, "seed": 7, "top_k": -1}, {"temperature": 1.5, "seed": 7}),
        ({"repetition_penalty": 1.5, "min_tokens": 5}, {"repetition_penalty": 1.5}),
        ({"stop": ["e", "o"]}, {"stop": ["e", "o"]}),
        ({"max_completion_tokens": 3}, {"max_tokens": 3}),
        ({"response_format": FORMAT, "max_tokens": 40}, {"response_format": FORMAT}),
        ({"response_format": {"type": "text"}}, {}),
    ],
)
def test_the_text_is_that_of_the_wrapper(chat, tiny_engine, given, same):
    limit = given.get("max_tokens", 8)
    oracle = ChatAmulet(engine=tiny_engine, profiles=None, unknown_user="plain")
    expected = oracle.invoke(QUESTION, **{"max_tokens": limit, **same})
    answer = chat(QUESTION, **given).json()
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == expected.content
    assert choice["finish_reason"] == expected.response_metadata["finish_reason"]
    usage = expected.usage_metadata
    kept = answer["usage"].pop("prompt_tokens_details")["cached_tokens"]
    assert 0 <= kept <= usage["input_tokens"]
    assert answer["usage"] == {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }
    applied = expected.response_metadata["amulet"]
    for name in ("method", "guidance_scale", "max_kl", "preset"):
        assert answer["amulet"][name] == applied[name]
    assert answer["amulet"].get("gate") == applied.get("gate")
    assert len(answer["amulet"].get("left_out", [])) == len(applied.get("left_out", []))
    (streamed,) = folded(events_of(chat(QUESTION, **given, stream=True)))
    assert streamed["content"] == expected.content
    assert streamed["reason"] == choice["finish_reason"]


def test_the_answer_says_whose_preferences_were_applied_and_no_texts(chat):
    known = chat(user="ann").json()["amulet"]
    assert known["user_id"] == "ann"
    assert known["profile_version"] == 1
    assert known["preferences"] == [{"name": "sea", "weight": 1.0}]
    assert known["preset"] == "strong"
    unknown = chat(user="bob").json()["amulet"]
    assert unknown["user_id"] == "bob"
    assert unknown["profile_version"] is None
    assert (unknown["method"], unknown["preferences"]) == ("base", [])
    own = chat(user="ann", amulet={"preference": ["Be brief."]}).json()["amulet"]
    assert (own["user_id"], own["profile_version"]) == ("ann", None)
    assert "brief" not in json.dumps(own)
    assert chat(amulet={"preference": ["Be brief."]}).json()["amulet"]["user_id"] is None


def test_a_header_names_the_user_where_the_body_does_not(http):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    named = http.post("/v1/chat/completions", json=body, headers={"X-User": "ann"}).json()
    assert named["amulet"]["user_id"] == "ann"


ASKED: list[dict[str, Any]] = [
    {},
    {"user": "ann", "amulet": {"explain": True}},
    {"logprobs": True, "top_logprobs": 2},
    {"n": 2, "temperature": 1.0, "seed": 1},
    {"tools": [ADD], "tool_choice": "required", "max_tokens": 90},
    {"response_format": FORMAT, "max_tokens": 40},
]


@pytest.mark.parametrize("body", ASKED)
def test_answers_have_openais_form_and_streams_add_up_to_them(chat, body):
    whole = chat(**body).json()
    strict(ChatCompletion, whole)
    usage = {"stream_options": {"include_usage": True}}
    *events, last = events_of(chat(**body, **usage, stream=True))
    for event in events:
        strict(ChatCompletionChunk, event)
        assert event["usage"] is None
        assert event["object"] == "chat.completion.chunk"
    assert last["choices"] == []
    for answered in (last, whole):  # what is kept of the prompt is another matter the second time
        assert answered["usage"].pop("prompt_tokens_details").keys() == {"cached_tokens"}
    assert last["usage"] == whole["usage"]
    assert len({event["id"] for event in [*events, last]}) == 1
    streamed = folded(events)
    assert len(streamed) == len(whole["choices"]) == body.get("n", 1)
    for part, choice in zip(streamed, whole["choices"], strict=True):
        assert part["content"] == (choice["message"]["content"] or "")
        assert part["reason"] == choice["finish_reason"]
        assert part["logprobs"] == (choice["logprobs"] or {}).get("content", [])
        calls = choice["message"].get("tool_calls", [])
        assert [(it["name"], it["args"]) for it in part["calls"].values()] == [
            (it["function"]["name"], it["function"]["arguments"]) for it in calls
        ]
    without = events_of(chat(**body, stream=True))
    assert all("usage" not in event for event in without)


def test_the_usage_says_what_had_been_computed_before(chat):
    """Of the conversation itself: contexts of preferences are not counted as prompt tokens."""
    asked = {"messages": [{"role": "user", "content": "A new one: " + "the sea is blue. " * 9}]}
    usages = [
        chat(**asked, amulet=it).json()["usage"] for it in (None, None, {"preference": "No."})
    ]
    kept = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    tokens = usages[0]["prompt_tokens"]
    assert kept[0] < tokens / 2 < tokens - 20 < kept[1] <= kept[2] < tokens


def test_a_required_tool_is_called_with_valid_arguments(chat):
    (choice,) = chat(tools=[ADD], tool_choice="required", max_tokens=90).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]) in ({"a": 1, "b": 3}, {"a": 2, "b": 3})


def test_the_result_of_a_call_is_read_with_an_answer_as_it_was_sent(chat):
    (choice,) = chat(tools=[ADD], tool_choice="required", max_tokens=90).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Add."}]},
        {"role": "user", "content": "1 and 3?", "name": "ann"},
        choice["message"],
        {"role": "tool", "content": "4", "tool_call_id": call["id"]},
    ]
    answer = chat(messages=messages, tools=[ADD], tool_choice="none")
    assert answer.status_code == 200, answer.text
    assert answer.json()["amulet"]["ignored"] == ["messages.name"]


def test_several_answers_have_seeds_one_after_another(chat):
    asked: dict[str, Any] = {"temperature": 1.5, "max_tokens": 6}
    alone = [chat(**asked, seed=seed).json()["choices"][0]["message"] for seed in (5, 6, 7)]
    together = chat(**asked, seed=5, n=3).json()
    assert [it["message"] for it in together["choices"]] == alone
    assert [it["index"] for it in together["choices"]] == [0, 1, 2]
    counts = [chat(**asked, seed=seed).json()["usage"] for seed in (5, 6, 7)]
    assert together["usage"]["prompt_tokens"] == counts[0]["prompt_tokens"]
    answered = sum(it["completion_tokens"] for it in counts)
    assert together["usage"]["completion_tokens"] == answered


def test_explained_tokens_are_those_of_the_explanation(chat, tiny_engine):
    oracle = ChatAmulet(engine=tiny_engine, profiles=None, explain=True, max_tokens=8)
    explanation = oracle.explanation_of(oracle.invoke(QUESTION, profile=ANN))
    body = {"user": "ann", "amulet": {"explain": True}}
    whole = chat(QUESTION, **body).json()["amulet"]["tokens"]
    assert [it["token"] for it in whole] == [it.policy.token for it in explanation.tokens]
    for found, wanted in zip(whole, explanation.tokens, strict=True):
        assert found["logprob"] == pytest.approx(wanted.policy.logprob, abs=1e-4)
        assert found["base_logprob"] == pytest.approx(wanted.base.logprob, abs=1e-4)
        assert found["pref_logprob"] == pytest.approx(wanted.pref.logprob, abs=1e-4)
        assert found["kl_from_base"] == pytest.approx(wanted.kl_from_base, abs=1e-4)
    (streamed,) = folded(events_of(chat(QUESTION, **body, stream=True)))
    assert [it["token"] for it in streamed["tokens"]] == [it["token"] for it in whole]
    assert "".join(it["text"] for it in streamed["tokens"]) == streamed["content"]


@pytest.mark.parametrize(
    ("body", "is_long"),
    [
        ({}, False),
        ({"logprobs": True, "top_logprobs": 20}, True),
        ({"user": "ann", "amulet": {"explain": True}}, True),
    ],
)
def test_what_takes_long_to_write_is_not_written_on_the_event_loop(
    chat, monkeypatch, body, is_long
):
    threads, write = [], ChatFormat.whole

    def noted(self: Any, answers: Any) -> Any:
        threads.append(current_thread().name)
        return write(self, answers)

    monkeypatch.setattr(ChatFormat, "whole", noted)
    assert chat(QUESTION, **body).status_code == 200
    assert [it.startswith("amulet-request") for it in threads] == [is_long]


def complete(http: Any) -> Callable[..., Any]:
    return lambda **body: http.post("/v1/completions", json={"model": "tiny", **body})


def test_a_completion_continues_a_prompt_that_is_written_whole(http, tiny_engine):
    oracle = tiny_engine.tokenizer
    prompt = "The sea is"
    answer = complete(http)(prompt=prompt, max_tokens=5).json()
    strict(Completion, answer)
    (choice,) = answer["choices"]
    request = GenerationRequest(
        contexts=[oracle(prompt)["input_ids"]],
        sampling=SamplingParams(max_new_tokens=5, min_new_tokens=1),
    )
    (expected,) = tiny_engine.generate([request])
    assert choice["text"] == expected.text
    assert answer["usage"]["prompt_tokens"] == expected.usage.prompt_tokens
    events = events_of(complete(http)(prompt=prompt, max_tokens=5, stream=True))
    assert "".join(it["choices"][0]["text"] for it in events) == expected.text


def test_each_of_several_prompts_is_answered_n_times(http):
    ask = complete(http)
    prompts = ["The sea is", "Be"]
    asked: dict[str, Any] = {"max_tokens": 4, "temperature": 1.0, "seed": 3}
    together = ask(prompt=prompts, n=2, echo=True, **asked).json()
    assert [it["index"] for it in together["choices"]] == [0, 1, 2, 3]
    alone = [
        ask(prompt=prompt, **{**asked, "seed": seed}).json()["choices"][0]["text"]
        for prompt in prompts
        for seed in (3, 4)
    ]
    texts = [it["text"] for it in together["choices"]]
    assert texts == [
        f"{prompt}{text}"
        for prompt, text in zip([it for it in prompts for _ in range(2)], alone, strict=True)
    ]
    counts = [ask(prompt=it, **asked).json()["usage"]["prompt_tokens"] for it in prompts]
    assert together["usage"]["prompt_tokens"] == sum(counts)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({}, "prompt"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "echo"),
        ({"prompt": ["a"] * 5}, "prompt"),
        ({"prompt": ["a"] * 3, "n": 2}, "n"),
        ({"prompt": "a", "messages": []}, "messages"),
    ],
)
def test_completions_refuse_what_they_cannot_do(http, body, param):
    response = complete(http)(**body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_the_log_probabilities_of_completions_are_in_the_legacy_form(http):
    answer = complete(http)(prompt="The sea is", max_tokens=4, logprobs=2).json()
    strict(Completion, answer)
    found = answer["choices"][0]["logprobs"]
    assert {len(it) for it in found.values()} == {4}
    for token, logprob, top in zip(
        found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True
    ):
        assert top[token] == logprob
        assert len(top) <= 3
    assert (
        complete(http)(prompt="a", logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"]
        is None
    )


def shout(_user_id: str | None, text: str) -> str:
    """An operator's check: preferences are written in capitals, and secrets are refused."""
    if "secret" in text:
        raise ValueError("Secrets are not for prompts.")
    return text.upper()


def test_the_operator_rewrites_and_refuses_preferences(tiny_engine):
    app = make_app(tiny_engine, preference_check=f"{__name__}:shout")
    oracle = ChatAmulet(engine=tiny_engine, profiles=None, max_tokens=8)
    with TestClient(app, base_url="http://127.0.0.1") as http:

        def ask(**body: Any) -> Any:
            messages = [{"role": "user", "content": QUESTION}]
            sent = {"model": "tiny", "messages": messages, **body}
            return http.post("/v1/chat/completions", json=sent)

        loud = ANN.preferences[0].text.upper()
        expected = oracle.invoke(QUESTION, preference=loud, preset=ANN.preset).content
        stored = ask(user="ann").json()
        assert stored["choices"][0]["message"]["content"] == expected
        own = ask(amulet={"preference": ANN.preferences[0].text, "preset": ANN.preset}).json()
        assert own["choices"] == stored["choices"]
        refused = ask(amulet={"preference": ["Be brief.", "Tell the secret."]})
        assert refused.status_code == 400
        assert "Secrets are not for prompts." in refused.json()["error"]["message"]
