"""What was computed of one user's prompt makes no other user's answer faster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.serving.access.key_file import KeyFile
from tests.unit.serving.access.conftest import Serve, bearer


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tiny_engine: LocalEngine) -> list[bool]:
    """Of each answer, whether some of its contexts was at hand."""
    found: list[bool] = []
    astream = tiny_engine.astream

    async def watched(request: GenerationRequest) -> AsyncIterator[Increment]:
        async for increment in astream(request):
            if increment.usage is not None:
                found.append(any(increment.usage.cached_tokens))
            yield increment

    monkeypatch.setattr(tiny_engine, "astream", watched)
    return found


@pytest.fixture
def strangers(file: KeyFile) -> list[str]:
    """The keys of two users who have never sent anything: all tests share the engine."""
    return [file.create(user_id=str(uuid4())).text for _ in range(2)]


def ask(client: TestClient, key: str, user: str | None = None, route: str = "chat") -> None:
    prompt = "The code is 5021. Repeat it."
    body: dict[str, Any] = {"model": "tiny", "max_tokens": 2, "user": user}
    if route == "completion":
        path, body["prompt"] = "completions", prompt
    else:
        path, body["messages"] = "chat/completions", [{"role": "user", "content": prompt}]
    if route == "explained chat":
        body["amulet"] = {"preference": ["Be brief.", "Be kind."], "explain": True}
    asked = client.post(f"/v1/{path}", json=body, headers=bearer(key))
    assert asked.status_code == 200, asked.text


@pytest.mark.parametrize("route", ["chat", "explained chat", "completion"])
def test_a_user_cannot_time_what_another_has_sent(
    serve: Serve, cached: list[bool], file: KeyFile, strangers: list[str], route: str
) -> None:
    client, (one, other) = serve(keys=file.path, model="tiny"), strangers
    for key in (one, one, other, other):
        ask(client, key, route=route)
    assert cached == [False, True, False, True]


def test_an_applications_users_are_kept_apart_as_well(
    serve: Serve, cached: list[bool], file: KeyFile, web: str
) -> None:
    client, one, other = serve(keys=file.path, model="tiny"), str(uuid4()), str(uuid4())
    for user in (one, one, other, None):
        ask(client, web, user)
    assert cached == [False, True, False, False]


@pytest.mark.parametrize("share", [True, None])
def test_prompts_are_shared_where_the_operator_wants_it_and_without_keys(
    serve: Serve, cached: list[bool], strangers: list[str], file: KeyFile, share: bool | None
) -> None:
    keys = None if share is None else file.path
    client = serve(keys=keys, model="tiny", share_prefixes=share)
    for key in strangers:
        ask(client, key)
    assert cached[1]
