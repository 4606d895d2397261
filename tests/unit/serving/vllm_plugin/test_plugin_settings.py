"""What the operator of `vllm serve` decides, and what a request to it may ask for."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.requests import Request

from amulet_integrations.client import AmuletClient
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import (
    ContextLengthError,
    InvalidParamsError,
    UnsupportedByEngineError,
)
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.profile_api.profile_service import ProfileService
from amulet_integrations.serving.vllm_plugin.completion_reader import read_chat, read_completion
from amulet_integrations.serving.vllm_plugin.personal_requests import PersonalRequests
from amulet_integrations.serving.vllm_plugin.plugin import AmuletPlugin
from amulet_integrations.serving.vllm_plugin.plugin_settings import read_settings
from amulet_integrations.serving.vllm_plugin.vllm_served_model import VLLMServedModel
from tests.support.tiny import tiny_tokenizer


def test_the_names_are_those_of_amulet_serve():
    settings = read_settings(
        {
            "AMULET_PROFILES": "sqlite:///profiles.db",
            "AMULET_KEYS": "keys.json",
            "AMULET_USER_HEADERS": "X-One, X-Two",
            "AMULET_MAX_GUIDANCE_SCALE": "2.5",
            "AMULET_PREFERENCE_CHECK": "",
            "AMULET_SHARE_PREFIXES": "yes",
            "AMULET_PORT": "9000",  # vLLM's own flag says it
        }
    )
    assert settings.profiles == "sqlite:///profiles.db"
    assert str(settings.keys) == "keys.json"
    assert settings.user_headers == ("X-One", "X-Two")
    assert settings.max_guidance_scale == 2.5
    assert settings.preference_check is None
    assert settings.share_prefixes is True
    assert settings.port == read_settings({}).port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AMULET_MAX_GUIDANCE_SCALE", "much"),
        ("AMULET_MAX_GUIDANCE_SCALE", "-1"),
        ("AMULET_SHARE_PREFIXES", "perhaps"),
        ("AMULET_USER_HEADERS", "Authorization"),
    ],
)
def test_a_setting_that_is_not_valid_is_named(name, value):
    field = name.removeprefix("AMULET_").lower()
    with pytest.raises(InvalidParamsError, match=f"(?i){field}") as caught:
        read_settings({name: value})
    assert value in str(caught.value)


@pytest.mark.parametrize("given", ["flag", "variable"])
def test_there_is_one_kind_of_keys(monkeypatch, tmp_path, given):
    monkeypatch.setenv("AMULET_KEYS", str(tmp_path / "keys.json"))
    app = FastAPI()
    app.state.args = Namespace(api_key=["secret"] if given == "flag" else None)
    if given == "variable":
        monkeypatch.setenv("VLLM_API_KEY", "secret")
    with pytest.raises(UnsupportedByEngineError, match="api-key") as caught:
        AmuletPlugin().attach_router(app)
    assert "secret" not in str(caught.value)


@pytest.fixture
def model():
    sizes = {"context_window": 100, "block_size": 16, "cache_blocks": 10, "max_rows": 8}
    return VLLMServedModel("m", "m", None, **sizes)


@pytest.mark.parametrize(
    ("lengths", "asked", "most"),
    [([20, 30], None, 50), ([20, 30], 50, 50), ([90], 50, 10), ([20], None, 80)],
)
def test_answers_have_as_many_tokens_as_fit(model, lengths, asked, most):
    assert model.most_new_tokens([[0] * it for it in lengths], asked) == most


@pytest.mark.parametrize(
    ("lengths", "asked", "message"),
    [
        ([100, 20], None, "context window of 100"),
        ([20, 30], 51, "10 blocks of 16"),
        ([20, 80], None, "10 blocks of 16"),
    ],
)
def test_what_cannot_fit_is_refused(model, lengths, asked, message):
    with pytest.raises(ContextLengthError, match=message):
        model.most_new_tokens([[0] * it for it in lengths], asked)


def test_the_model_is_an_engine_that_decodes_nothing_itself(model):
    assert isinstance(model, Engine)
    with pytest.raises(UnsupportedByEngineError, match="routes"):
        model.generate([])


@dataclass
class Chat:
    """What vLLM reads of a body."""

    tools: object = None
    tool_choice: object = None
    response_format: object = None
    structured_outputs: object = None
    chat_template_kwargs: object = None
    reasoning_effort: object = None
    max_completion_tokens: object = None
    max_tokens: object = None
    prompt: object = None


REQUEST = Request({"type": "http", "headers": []})
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def test_a_conversation_is_read_with_what_its_template_reads():
    given = Chat(reasoning_effort="low", chat_template_kwargs={"a": 1}, max_tokens=7)
    read = read_chat(given, REQUEST, MESSAGES | {"min_p": 0.1, "anything": "else"})
    assert [it.content for it in read.conversation] == ["Hi"]
    assert read.asked == 7
    assert not read.is_constrained
    variables = {"a": 1, "enable_thinking": True, "reasoning_effort": "low"}
    assert read.arguments["chat_template_kwargs"] == variables


def test_forced_calls_follow_nobodys_preferences():
    given = Chat(tools=[TOOL], tool_choice="required")
    assert read_chat(given, REQUEST, MESSAGES | {"tools": [TOOL]}) is None


@pytest.mark.parametrize(
    ("given", "body", "param"),
    [
        (Chat(), {"n": 2}, "n"),
        (Chat(), {"logprobs": True}, "logprobs"),
        (Chat(), {"frequency_penalty": -0.5}, "frequency_penalty"),
        (Chat(), {"kv_transfer_params": {}}, "kv_transfer_params"),
        (
            Chat(response_format=SimpleNamespace(type="json_object")),
            {"tools": [TOOL]},
            "response_format",
        ),
        (
            Chat(),
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_what_preferences_cannot_go_with_is_refused(given, body, param):
    with pytest.raises(ApiError) as caught:
        read_chat(given, REQUEST, MESSAGES | body)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_log_probabilities_of_the_answer_alone_are_refused_too():
    with pytest.raises(ApiError) as caught:
        read_completion(Chat(prompt="a"), REQUEST, {"logprobs": 0})
    assert caught.value.param == "logprobs"
    assert read_completion(Chat(prompt="a"), REQUEST, {"logprobs": None}).conversation == "a"


async def prepared(user, cache_salt=None):
    """A request whose preference comes with it, and what vLLM's request is afterwards."""
    sizes = {"context_window": 500, "block_size": 16, "cache_blocks": 100, "max_rows": 8}
    model = VLLMServedModel("m", "m", tiny_tokenizer(), **sizes)
    access = Access(share_prefixes=False)
    requests = PersonalRequests(
        AmuletClient(engine=model, profiles=None), access, ProfileService(None), model
    )
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    raw = Request(scope)
    raw._json = MESSAGES
    given = Chat()
    given.user, given.cache_salt = user, cache_salt
    given.model_extra = {"amulet": {"preference": "Be brief.", "guidance_scale": 2}}
    return await requests.prepare(given, raw, read_chat), given


async def test_prefixes_are_kept_apart_by_a_salt_that_nobody_can_guess():
    salts = {}
    for user, own in (("ann", None), ("ann", "mine"), ("bob", None)):
        found, given = await prepared(user, own)
        assert found.request.cache_salt == given.cache_salt
        salts[user, own] = given.cache_salt
    assert len(set(salts.values())) == 3
    assert (await prepared("ann"))[1].cache_salt == salts["ann", None]
    assert sha256(b"user ann").hexdigest() not in salts["ann", None]


async def test_vllm_cannot_log_the_text_of_a_preference_that_comes_with_a_request():
    found, given = await prepared("ann")
    assert found is not None
    assert given.model_extra == {}


@pytest.mark.parametrize("prompt", [[1, 2], ["a", "b"], [[1], [2]]])
def test_one_prompt_is_continued_at_a_time(prompt):
    with pytest.raises(ApiError, match="one prompt"):
        read_completion(Chat(prompt=prompt), REQUEST, {})
    assert read_completion(Chat(prompt=["a"]), REQUEST, {"n": 1}).conversation == "a"
