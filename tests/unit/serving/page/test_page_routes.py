"""The files of the page: their headers, and that they are in the wheel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import amulet_integrations
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.page import page_routes
from tests.unit.serving.page.written_engine import WrittenEngine

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def client():
    settings = ServerSettings(profiles=None, max_guidance_scale=7.5)
    return TestClient(
        create_app(settings, engine=WrittenEngine("Tea.")), base_url="http://127.0.0.1"
    )


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "html"), ("/page.js", "javascript"), ("/page.css", "css")]
)
def test_a_file_has_its_headers(client, path, kind):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"
    tag = answer.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_the_page_has_no_script_or_style_of_its_own_and_the_operators_maximum(client):
    text = client.get("/").text
    assert "<style" not in text
    assert "style=" not in text
    assert text.count("<script") == 1
    assert not re.search(r"\bon[a-z]+=", text)
    assert 'max="7.5"' in text


def test_every_file_of_the_page_is_in_the_package():
    folder = Path(amulet_integrations.__file__).parent / "serving" / "page"
    served = {it.name for it in (folder / "script").iterdir()}
    assert served == {f"{name}.js" for name in page_routes._PARTS}
