"""`vllm serve` with the plug-in, as OpenAI's client sees it, beside the tokens of `VLLMEngine`."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest

from amulet_integrations.client import AmuletClient
from amulet_integrations.engine import VLLMEngine
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS
from amulet_integrations.serving.access.key_file import KeyFile

from .vllm_server import PLUGIN_FLAGS, vllm_serve

QUESTION = "What is the capital of France?"
PREFERENCES = {
    "ann": ["Answer like a friendly pirate."],
    "bob": ["Answer in French.", "Be formal."],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ANSWER = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 20}},
    "required": ["capital"],
    "additionalProperties": False,
}
OPTIONS = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_model_len": 768}


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """The file of keys and the database of a server, and its users' keys."""
    folder = tmp_path_factory.mktemp("serve")
    keys = KeyFile(folder / "keys.json")
    made = {user: keys.create(user_id=user).text for user in PREFERENCES}
    made["app"] = keys.create(application="tests").text
    with SqlProfileStore(folder / "profiles.db") as store:
        for user, texts in PREFERENCES.items():
            weights = [1.0, 0.5]
            preferences = [
                {"text": text, "weight": weight}
                for text, weight in zip(texts, weights, strict=False)
            ]
            store.save(PreferenceProfile(user_id=user, preferences=preferences))
    return SimpleNamespace(folder=folder, keys=made)


@pytest.fixture(scope="module")
def expected(users):
    """The tokens of an answer, from `VLLMEngine`."""
    model = str(embedded_model_path())
    with VLLMEngine(model, max_num_seqs=8, **OPTIONS) as engine:
        client = AmuletClient(engine=engine, profiles=str(users.folder / "profiles.db"))
        known = {}

        def tokens(user, question=QUESTION, **options):
            named = {} if user is None else {"user_id": user}
            key = json.dumps([user, question, options], sort_keys=True)
            if key not in known:
                arguments = client.read_call({**named, **options}, OUTPUT_OPTIONS)
                selection = client.resolve_user(arguments.selection)
                found = client.personalize(selection, arguments)
                messages = (
                    question
                    if question.startswith("<")
                    else (ChatMessage(role="user", content=question),)
                )
                prepared = client.prepare_answer(messages, arguments, found)
                known[key] = list(engine.generate([prepared.request])[0].token_ids)
            return known[key]

        yield tokens


@pytest.fixture(scope="module")
def server(users):
    log = users.folder / "server.log"
    with vllm_serve(
        users.folder,
        str(embedded_model_path()),
        *("--dtype", "float32", "--enforce-eager", "--block-size", "32"),
        *("--max-model-len", "768", "--max-num-seqs", "12"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        *PLUGIN_FLAGS,
        log=log,
        VLLM_PLUGINS="amulet",
        AMULET_PROFILES=str(users.folder / "profiles.db"),
        AMULET_KEYS=str(users.folder / "keys.json"),
        AMULET_USER_HEADERS="X-OpenWebUI-User-Id",
    ) as url:
        yield SimpleNamespace(url=url, log=log)


@pytest.fixture(scope="module")
def client_of(server, users):
    def make(name="app", kind=openai.OpenAI):
        return kind(base_url=f"{server.url}/v1", api_key=users.keys.get(name, name), max_retries=0)

    return make


@pytest.fixture(scope="module")
def ask(client_of):
    client = client_of()

    def asked(user=None, question=QUESTION, *, max_tokens=24, extra=None, **options):
        return client.chat.completions.create(
            model=str(embedded_model_path()),
            messages=[{"role": "user", "content": question}],
            max_tokens=max_tokens,
            **({} if user is None else {"user": user}),
            extra_body={"return_token_ids": True, **(extra or {})},
            **{"temperature": 0, **options},
        )

    return asked


def tokens_of(answer):
    return answer.choices[0].token_ids


def gauges(client, *names):
    """vLLM's own figures."""
    text = client._client.get(str(client.base_url).replace("/v1/", "/metrics")).text
    return {
        name: float(re.search(rf"^vllm:{name}\{{.*\}} (\S+)$", text, re.MULTILINE)[1])
        for name in names
    }


@pytest.mark.parametrize("user", PREFERENCES)
@pytest.mark.parametrize("how", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 7}])
def test_each_user_gets_the_tokens_of_the_engine(ask, expected, user, how):
    answer = ask(user, **how)
    assert tokens_of(answer) == expected(user, max_tokens=24, **how)
    assert answer.usage.completion_tokens == len(tokens_of(answer))


def test_the_answers_of_two_users_differ_and_nobody_has_neither(ask):
    answers = {user: ask(user).choices[0].message.content for user in [*PREFERENCES, "eve"]}
    assert len(set(answers.values())) == 3
    assert answers["eve"] == ask().choices[0].message.content


def test_a_header_or_a_key_names_the_user_too(ask, client_of, expected):
    by_header = ask(extra_headers={"X-OpenWebUI-User-Id": "ann"})
    assert tokens_of(by_header) == expected("ann", max_tokens=24)
    messages = [{"role": "user", "content": QUESTION}]
    given = {"model": str(embedded_model_path()), "messages": messages, "max_tokens": 24}
    own = client_of("bob").chat.completions.create(
        **given, temperature=0, extra_body={"return_token_ids": True}
    )
    assert tokens_of(own) == expected("bob", max_tokens=24)
    with pytest.raises(openai.PermissionDeniedError):
        client_of("bob").chat.completions.create(**given, user="ann")
    for path in ("chat/completions", "completions", "responses", "models", "profiles"):
        answer = client_of("nobody's")._client.post(f"{client_of().base_url}{path}", json={})
        assert answer.status_code in {401, 405}, path


def test_a_preference_that_comes_with_the_request_counts_for_it_alone(ask, expected):
    given = {"amulet": {"preference": "Answer in French.", "guidance_scale": 2}}
    answer = ask(extra=given)
    assert tokens_of(answer) == expected(
        None, max_tokens=24, preference="Answer in French.", guidance_scale=2
    )
    assert tokens_of(ask()) != tokens_of(answer)


def test_a_stream_has_the_same_text_and_usage(ask):
    whole = ask("ann")
    chunks = list(ask("ann", stream=True, stream_options={"include_usage": True}))
    text = "".join(it.choices[0].delta.content or "" for it in chunks if it.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    ends = [it.choices[0].finish_reason for it in chunks if it.choices]
    assert ends[-1] == whole.choices[0].finish_reason


def test_stop_strings_and_the_end_of_the_text_end_the_group(ask, client_of):
    whole = ask("ann", max_tokens=64).choices[0].message.content
    word = whole.split()[4]
    stopped = ask("ann", max_tokens=64, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == whole[: whole.index(word)]
    assert ask("ann", max_tokens=64).choices[0].finish_reason == "stop"
    assert gauges(client_of(), "num_requests_running") == {"num_requests_running": 0}


def test_where_tools_may_be_called_the_tokens_are_those_of_the_engine(ask, expected):
    question = "What is the weather in Paris? Use the tool."
    answer = ask("ann", question, tools=[WEATHER], tool_choice="auto")
    assert tokens_of(answer) == expected("ann", question, max_tokens=24, tools=[WEATHER])


def test_a_tool_is_called_whatever_its_user_prefers(client_of):
    def call(city, name):
        return {
            "id": name,
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }

    messages = [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call("Rome", "one")]},
        {"role": "tool", "tool_call_id": "one", "content": "Sunny."},
        {"role": "assistant", "content": "It is sunny."},
        {"role": "user", "content": "What is the weather in Paris?"},
    ]
    found = []
    for user in PREFERENCES:
        answer = client_of().chat.completions.create(
            model=str(embedded_model_path()),
            messages=messages,
            tools=[WEATHER],
            temperature=0,
            max_tokens=64,
            user=user,
            extra_body={"bad_words": ["response"]},  # the small model repeats what it has read
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        found += [it.function for it in answer.choices[0].message.tool_calls]
    assert [it.name for it in found] == ["get_weather"] * 2
    assert found[0].arguments == found[1].arguments
    assert set(json.loads(found[0].arguments)) == {"city"}


def test_a_call_that_has_to_be_made_is_vllms(ask):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    one, other = (ask(user, tools=[WEATHER], tool_choice=choice) for user in ("ann", None))
    assert tokens_of(one) == tokens_of(other)


def test_formats_are_vllms_with_the_preferences_in_the_prompt(ask):
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}}
    answer = ask("ann", max_tokens=60, response_format=schema)
    assert set(json.loads(answer.choices[0].message.content)) == {"capital"}
    chosen = ask("ann", extra={"structured_outputs": {"choice": ["Lyon", "Nice"]}})
    assert chosen.choices[0].message.content in {"Lyon", "Nice"}
    free = ask("ann", max_tokens=1)  # what is shown of the prompt has no preferences either way
    assert chosen.prompt_token_ids == free.prompt_token_ids
    assert chosen.usage.prompt_tokens == free.usage.prompt_tokens


def test_a_prompt_is_continued(client_of, expected):
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    answer = client_of().completions.create(
        model=str(embedded_model_path()),
        prompt=prompt,
        max_tokens=16,
        temperature=0,
        user="ann",
        extra_body={"return_token_ids": True},
    )
    assert tokens_of(answer) == expected("ann", prompt, max_tokens=16)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 10}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"extra": {"amulet": {"explain": True}}}, "amulet.explain"),
        ({"extra": {"amulet": {"guidance_scale": 1e9}}}, None),
        ({"extra": {"amulet": {"preferences": "Be brief."}}}, "amulet.preferences"),
    ],
)
def test_what_cannot_be_had_is_refused(ask, given, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask("ann", **given)
    assert param is None or caught.value.param == param


def test_errors_of_vllm_stay_its_own(ask, client_of):
    with pytest.raises(openai.NotFoundError):
        client_of().chat.completions.create(
            model="another", messages=[{"role": "user", "content": "Hi"}], user="ann"
        )
    with pytest.raises(openai.BadRequestError):
        ask("ann", "word " * 2000)


@pytest.mark.parametrize("name", ["amulet_request", "amulet_member"])
def test_nobody_makes_groups_by_extra_arguments(ask, client_of, name):
    forged = {"vllm_xargs": {name: json.dumps({"contexts": [[1], [2]]})}}
    for user in ("ann", None):
        with pytest.raises(openai.BadRequestError, match=name):
            ask(user, extra=forged)
    with pytest.raises(openai.BadRequestError, match=name):
        client_of().completions.create(
            model=str(embedded_model_path()), prompt="Hi", extra_body=forged
        )


async def test_a_client_that_goes_away_leaves_nothing(ask, client_of, expected):
    client = client_of(kind=openai.AsyncOpenAI)
    streams = [
        await client.chat.completions.create(
            model=str(embedded_model_path()),
            messages=[{"role": "user", "content": "Tell a long story."}],
            user=user,
            stream=True,
            extra_body={"ignore_eos": True},
            max_tokens=600,
        )
        for user in PREFERENCES
    ]
    for stream in streams:
        async for _ in stream:
            break
        await stream.close()
    await client.close()
    nothing = {"num_requests_running": 0, "num_requests_waiting": 0, "kv_cache_usage_perc": 0}
    for _ in range(100):
        found = await asyncio.to_thread(gauges, client_of(), *nothing)
        if found == nothing:
            break
        await asyncio.sleep(0.2)
    assert found == nothing
    answer = await asyncio.to_thread(ask, "ann")
    assert tokens_of(answer) == expected("ann", max_tokens=24)


def test_eight_with_preferences_beside_eight_without(ask, expected):
    questions = [f"What is the capital of {it}?" for it in ("France", "Spain", "Peru", "Chad")]
    wanted = [(user, it) for it in questions for user in PREFERENCES]
    plain = {it: tokens_of(ask(question=it)) for it in questions}
    with ThreadPoolExecutor(16) as threads:
        personal = [threads.submit(ask, user, it) for user, it in wanted]
        others = [threads.submit(ask, None, it) for it in questions * 2]
        answers = [tokens_of(it.result()) for it in personal]
        unpersonal = [tokens_of(it.result()) for it in others]
    assert answers == [expected(user, it, max_tokens=24) for user, it in wanted]
    assert unpersonal == [plain[it] for it in questions * 2]


def test_a_profile_that_is_written_counts_at_the_next_call(client_of, ask, expected, users):
    http = client_of()._client
    headers = {"Authorization": f"Bearer {users.keys['app']}"}
    path = f"{client_of().base_url}profiles/cid"
    body = {"preferences": [{"text": PREFERENCES["ann"][0]}]}
    assert tokens_of(ask("cid")) == tokens_of(ask())
    assert http.put(path, json=body, headers=headers).status_code == 201
    assert tokens_of(ask("cid")) == expected("ann", max_tokens=24)
    body = {"preferences": [{"text": "Answer in French."}]}
    assert http.put(path, json=body, headers=headers).status_code == 200
    french = expected(None, max_tokens=24, preference="Answer in French.")
    assert tokens_of(ask("cid")) == french


def test_no_log_has_the_text_of_a_preference(server, ask):
    ask("ann")
    written = Path(server.log).read_text()
    assert not any(text in written for texts in PREFERENCES.values() for text in texts)
