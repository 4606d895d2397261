"""What a notebook shows: text as text, no script, nothing that clashes when shown twice."""

from __future__ import annotations

import re

import pytest

from amulet_integrations.terminal_text import safe
from tests.unit.explanation import made
from tests.unit.explanation.test_page import Page, assert_obeys_nothing


@pytest.fixture(scope="module")
def hostile():
    return made.hostile_explanation()


def test_hostile_text_is_text(hostile):
    fragment = hostile._repr_html_()
    fragment.encode()
    assert safe(fragment) == fragment
    page = Page(fragment)
    assert_obeys_nothing(page)
    assert "script" not in page.tags
    assert safe(hostile.question) in page.texts["p"]
    assert "".join(safe(token.text) for token in hostile.tokens) in page.texts["p"]


def test_notebooks_read_neither_formulas_nor_markdown(hostile):
    fragment = hostile._repr_html_()
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set(Page(fragment).attributes[0][1].split())
    assert "" not in map(str.strip, fragment.strip().split("\n"))  # which would end the HTML


def test_it_may_stand_in_a_notebook_twice(hostile):
    fragment = hostile._repr_html_()
    assert "id" not in {name for name, _ in Page(fragment).attributes}
    [style] = re.findall(r"<style>(.*?)</style>", fragment, re.DOTALL)
    selectors = [
        part.strip() for rule in style.split("}") for part in rule.split("{")[0].split(",")
    ]
    assert all(it.startswith(".amulet-explanation") for it in selectors if it)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_each_token_has_its_figures(count):
    explained = made.random_explanation(count)
    titles = [value for name, value in Page(explained._repr_html_()).attributes if name == "title"]
    assert len(titles) == count
    assert all("base" in title and "strength" in title for title in titles)


def test_its_repr_shows_no_private_text():
    explained = made.explanation(made.token("PRIVATE"), question="PRIVATE")
    assert "PRIVATE" not in repr(explained)
    assert "PRIVATE" in explained._repr_html_()
