"""The operator's check of preferences: it holds for every route that writes a profile."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest
from fastapi.testclient import TestClient

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.profiles import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.api_errors import ApiError
from tests.support.served.routes import client_of, until
from tests.unit.serving.access.conftest import bearer

HERE = __name__
ANN = "/v1/profiles/ann"

seen: list[tuple[str | None, str, str]] = []


def check(user_id: str | None, text: str) -> str:
    """Refuses, rewrites, fails, or does nothing, by what the text says."""
    seen.append((user_id, text, threading.current_thread().name))
    if "forbidden" in text:
        raise ValueError("Ask for something else.")
    if "speechless" in text:
        raise ValueError
    if "broken" in text:
        raise KeyError(f"SECRET {text}")
    if "leaving" in text:
        sys.exit(f"SECRET {text}")
    if "number" in text:
        return 7
    if "silence" in text:
        return "  "
    return text.replace("loud", "quiet")


inside: list[str | None] = []
go_on = threading.Event()


def hang(user_id: str | None, text: str) -> str:
    """Does not return for some texts, until the test lets it."""
    if "hang" in text:
        inside.append(user_id)
        go_on.wait(30)
    return text


async def asleep(user_id: str | None, text: str) -> str:
    return text


a_constant = "x"


@pytest.fixture
def place(tmp_path):
    seen.clear()
    return tmp_path / "profiles.db"


@pytest.fixture
def client(tiny_engine, place):
    settings = ServerSettings(profiles=place, preference_check=f"{HERE}:check")
    return TestClient(create_app(settings, engine=tiny_engine), base_url="http://127.0.0.1")


@pytest.fixture
def store(place):
    with SqlProfileStore(place) as store:
        yield store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("forbidden", (400, "preference_refused", "Ask for something else.")),
        ("speechless", (400, "preference_refused", "not allowed")),
        ("broken", (500, "preference_check_failed", "log")),
        ("leaving", (500, "preference_check_failed", "log")),
        ("number", (500, "preference_check_failed", "log")),
        ("silence", (500, "preference_check_failed", "log")),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "RESTORE"])
def test_what_the_operator_refuses_is_not_stored(client, caplog, method, text, expected):
    store = SqlProfileStore(client.app.state.amulet.settings.profiles)
    status, code, message = expected
    store.save(PreferenceProfile(user_id="ann", preferences=["Fine.", text, "SECRET"]))
    before = store.save(PreferenceProfile(user_id="ann", preferences=["Fine."]))
    body = {"preferences": ["Fine.", {"text": text}, "SECRET"]}
    with caplog.at_level(logging.DEBUG):
        if method == "RESTORE":
            refused = client.post(f"{ANN}/restore", json={"version": 1})
        else:
            refused = client.request(method, ANN, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (status, code)
    assert message in error["message"]
    assert "SECRET" not in refused.text + caplog.text
    assert text == "number" or text not in refused.text + caplog.text
    if status == 500:
        assert f"{HERE}:check" in caplog.text
    assert store.get("ann") == before
    store.close()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "RESTORE"])
def test_what_the_operator_rewrites_is_stored(client, store, method):
    loud = Preference(text="Be loud.", weight=0.5, name="volume")
    store.save(PreferenceProfile(user_id="ann", preferences=[loud], method="pref"))
    store.save(PreferenceProfile(user_id="ann"))
    if method == "RESTORE":
        response = client.post(f"{ANN}/restore", json={"version": 1})
    else:
        body = {"preferences": [loud.model_dump(mode="json")]}
        response = client.request(method, ANN, json=body)
    assert response.status_code == 200
    quiet = loud.model_copy(update={"text": "Be quiet."})
    assert store.get("ann").preferences == (quiet,)
    assert response.json()["preferences"][0]["text"] == "Be quiet."
    assert store.get("ann").method == ("pref" if method == "RESTORE" else None)


def test_what_the_operator_lets_pass_is_restored_as_it_was(client, store):
    store.save(PreferenceProfile(user_id="ann", preferences=["Fine."]))
    client.delete(ANN)
    client.post(f"{ANN}/restore", json={"version": 1})
    assert store.history("ann")[-1].action == "restore"


def test_a_patch_of_something_else_asks_for_nothing(client, store):
    store.save(PreferenceProfile(user_id="ann", preferences=["forbidden by now"]))
    assert client.patch(ANN, json={"guidance_scale": 2}).status_code == 200
    assert not seen


def test_it_is_called_with_the_user_off_the_event_loop(client):
    client.put(ANN, json={"preferences": ["One.", "Two."]})
    assert [(user, text) for user, text, _ in seen] == [("ann", "One."), ("ann", "Two.")]
    assert all(thread.startswith("amulet-request") for *_, thread in seen)


def test_routes_that_answer_use_it_by_the_servers_state(client):
    profiles = client.app.state.amulet.profiles
    checked = profiles.check_preferences(None, [Preference(text="Be loud."), Preference(text="x")])
    assert [it.text for it in checked] == ["Be quiet.", "x"]
    with pytest.raises(ApiError, match="something else") as refused:
        profiles.check_preferences("ann", [Preference(text="forbidden")])
    assert refused.value.status == 400


@pytest.mark.parametrize(("user", "most"), [("ann", 4), (None, 24)])
async def test_a_check_that_hangs_keeps_other_users_waiting_for_nothing(
    tiny_engine, place, user, most
):
    def ask(user_id: str | None, preference: str):
        body = {
            "model": "embedded",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 2,
            "user": user_id,
            "amulet": {"preference": preference},
        }
        return client.post("/v1/chat/completions", json=body)

    inside.clear()
    go_on.clear()
    settings = ServerSettings(profiles=place, preference_check=f"{HERE}:hang")
    async with asyncio.timeout(20), client_of(create_app(settings, engine=tiny_engine)) as client:
        hung = [asyncio.create_task(ask(user, "hang")) for _ in range(40)]
        try:
            await until(lambda: len(inside) == most)
            assert (await client.get("/healthz")).status_code == 200
            assert (await ask("bob", "fine")).status_code == 200
            read = await client.get("/v1/profiles/bob")
            assert read.status_code == 404
            assert inside == [user] * most
        finally:
            go_on.set()
        assert {it.status_code for it in await asyncio.gather(*hung)} == {200}


async def test_an_application_leaves_threads_to_other_keys_however_many_users_it_names(
    tiny_engine, place, tmp_path
):
    file = KeyFile(tmp_path / "keys.json")
    hostile, other = (bearer(file.create(application=it).text) for it in ("hostile", "other"))
    ann = bearer(file.create(user_id="ann").text)

    def put(user_id: str, preference: str, key: dict[str, str]):
        body = {"preferences": [preference]}
        return client.put(f"/v1/profiles/{user_id}", json=body, headers=key)

    inside.clear()
    go_on.clear()
    settings = ServerSettings(
        profiles=place, preference_check=f"{HERE}:hang", keys=file.path, max_streams=100
    )
    async with asyncio.timeout(20), client_of(create_app(settings, engine=tiny_engine)) as client:
        hung = [asyncio.create_task(put(f"user {it}", "hang", hostile)) for it in range(40)]
        try:
            await until(lambda: len(inside) == 24)
            for _ in range(5):
                assert (await put("bob", "fine", other)).is_success
                assert (await put("ann", "fine", ann)).is_success
            assert len(inside) == 24
        finally:
            go_on.set()
        assert {it.status_code for it in await asyncio.gather(*hung)} == {201}


def test_without_a_check_preferences_pass(tiny_engine, place):
    app = create_app(ServerSettings(profiles=place), engine=tiny_engine)
    given = [Preference(text="forbidden")]
    assert app.state.amulet.profiles.check_preferences("ann", given) == tuple(given)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:check", "No module named 'no_such_module'"),
        (f"{HERE}:no_such_name", "no_such_name"),
        (f"{HERE}:a_constant", "it is a str"),
        (f"{HERE}:asleep", "async"),
        ("check", "has not this form"),
        (":check", "has not this form"),
        (f"{HERE}:", "has not this form"),
        ("{}:{0}", "module:function"),
        ("..:x", "module:function"),
    ],
)
def test_a_check_that_cannot_be_used_is_refused_at_the_start(tiny_engine, place, name, message):
    settings = ServerSettings(profiles=place, preference_check=name)
    with pytest.raises(InvalidParamsError, match="preference_check=") as refused:
        create_app(settings, engine=tiny_engine)
    assert message in str(refused.value)
