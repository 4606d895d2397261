"""The page holds the figures of its explanation, obeys no text, and works in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from amulet_integrations.errors import InvalidRequestError
from amulet_integrations.explanation.visible_text import label
from amulet_integrations.terminal_text import safe
from tests.unit.explanation import made

VOID = {"meta", "br", "img", "input", "link"}
OURS = {
    *("html", "head", "meta", "title", "style", "body", "a", "main", "header", "section", "aside"),
    *("h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "div", "span", "b", "i", "u", "small"),
    *("bdi", "svg", "path", "rect", "table", "thead", "tbody", "tr", "th", "td", "script"),
    *("details", "summary", "code", "button", "kbd"),
}


class Page(HTMLParser):
    """The elements of a document, and the text within those that have an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], {}
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID | {"path", "rect"}:
            self._open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in {"path", "rect"}:  # a browser that writes its document closes them
            assert self._open.pop()[0] == tag

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data):
        for tag, attributes in self._open:
            for name in (attributes.get("id"), tag):
                self.texts[name] = self.texts.get(name, "") + data


@pytest.fixture(scope="module")
def hostile():
    return made.hostile_explanation()


@pytest.fixture(scope="module")
def hostile_page(hostile):
    return hostile.to_html()


def assert_obeys_nothing(page: Page) -> None:
    assert set(page.tags) <= OURS
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        assert name not in {"src", "srcset", "formaction", "xlink:href"}
        if name == "href":
            assert value.startswith("#")


def data_of(page: Page) -> dict:
    return json.loads(page.texts["data"])


def test_hostile_text_is_text(hostile, hostile_page):
    page = Page(hostile_page)
    assert_obeys_nothing(page)
    assert page.tags.count("script") == 2
    assert page.texts["h1"] == safe(hostile.question)
    for at, token in enumerate(hostile.tokens, 1):
        assert page.texts.get(f"t{at}", "") == safe(token.text)
    for it in hostile.preferences:
        assert safe(it.text) in page.texts["ul"]


def test_nothing_in_a_page_steers_or_cannot_be_written(hostile_page):
    hostile_page.encode()
    assert hostile_page.startswith("<!doctype html>")
    assert safe(hostile_page) == hostile_page


def test_a_page_allows_its_own_script_and_no_network(hostile_page):
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', hostile_page)
    script = Page(hostile_page.replace('type="application/json" ', "")).texts["script"]
    script = script[script.index('"use strict"') :]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_figures_of_a_page_are_those_of_the_explanation():
    explained = made.random_explanation(60)
    data = data_of(Page(explained.to_html()))
    whole = explained.to_dict()
    assert data["scale"] == whole["guidance_scale"]
    for row, token in zip(data["tokens"], whole["tokens"], strict=True):
        own, text, _, _, used, _, kl_base, kl_pref, shifts, *policies = row
        assert (own, text) == (token["token_id"], label(token["text"]))
        assert used == pytest.approx(token["guidance_scale"], abs=1e-5)
        for here, there in [(kl_base, "kl_from_base"), (kl_pref, "kl_from_pref")]:
            assert here == pytest.approx(token[there], abs=1e-5)
        assert shifts == pytest.approx(token["preference_shifts"], abs=1e-5)
        for policy, name in zip(policies, ("base", "pref", "policy"), strict=True):
            assert policy[0] == pytest.approx(token[name]["logprob"], abs=1e-5)
            assert policy[1::2] == [it["token_id"] for it in token[name]["top_logprobs"]]
            values = [it["logprob"] for it in token[name]["top_logprobs"]]
            assert policy[2::2] == pytest.approx(values, abs=1e-5)
            for it in token[name]["top_logprobs"]:
                assert data["labels"][str(it["token_id"])] == label(it["token"])


def test_the_tokens_most_moved_are_linked_in_order():
    explained = made.random_explanation(60)
    links = [value for name, value in Page(explained.to_html()).attributes if name == "href"]
    expected = [f"#t{at + 1}" for at in explained.most_moved(15)]
    assert [link for link in links if link.startswith("#t")] == expected


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_answers_of_any_length_have_a_page(count):
    page = Page(made.random_explanation(count).to_html())
    assert page.attributes.count(("role", "option")) == count


def test_two_thousand_tokens_stay_small():
    assert len(made.random_explanation(2000).to_html()) < 1_000_000


def test_an_answer_that_nothing_moved():
    page = made.explanation(made.token("tea"), preferences=(), method="base").to_html()
    assert "No preference was active." in page
    assert "No token was moved." in page


def test_the_page_is_saved(tmp_path):
    explained = made.random_explanation(3)
    path = explained.save_html(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == explained.to_html()
    assert [it.name for it in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("name", "reason"), [("", "is a folder"), ("no/page.html", "no folder")])
def test_a_place_that_is_none_is_refused(tmp_path, name, reason):
    with pytest.raises(InvalidRequestError, match=reason):
        made.explanation().save_html(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_hostile_text_as_text(hostile, tmp_path):
    file = hostile.save_html(tmp_path / "page.html")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    ran = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    page = Page(ran.stdout.decode())
    assert_obeys_nothing(page)
    assert ("class", "js") in page.attributes  # our script ran
    assert page.texts["title"] == "What the preferences did to an answer"  # no other one did
    most = hostile.most_moved(1)[0]
    assert label(hostile.tokens[most].text) in page.texts["panel"]
    for it in hostile.tokens[most].base.top:
        assert label(it.token) in page.texts["panel"]
    for at, token in enumerate(hostile.tokens, 1):
        assert page.texts.get(f"t{at}", "") == safe(token.text)
    assert page.attributes.count(("tabindex", "0")) == 1
