"""The page holds everything, obeys nothing that an answer says, and needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from amulet_integrations.errors import EvaluationError, MissingDependencyError
from amulet_integrations.evaluation.reporting import write_report
from amulet_integrations.evaluation.reporting.html import flat_settings
from tests.unit.evaluation import made

HOSTILE = "<script>alert('x')</script>\"'&{{ 7 * 7 }}{% raw %}\0\x1b[31m\ud800\u202e"
SETTINGS = {"model": "some/model", "seed": 3, "versions": {"torch": "2.13"}}


@pytest.fixture(scope="module", autouse=True)
def matplotlib():
    return pytest.importorskip("matplotlib")


class Page(HTMLParser):
    """Which elements a page has, and what they point to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "srcset", "href"}]
        if tag not in {"meta", "img", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def report(folder, answers=None, outcomes=None, settings=None):
    answers = made.run(questions=4) if answers is None else answers
    outcomes = made.outcomes() if outcomes is None else outcomes
    paths = write_report(settings or SETTINGS, answers, outcomes, folder)
    return paths, paths[0].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return report(tmp_path_factory.mktemp("report"))


def test_all_files_are_written(whole):
    paths, _ = whole
    assert [path.name for path in paths] == [
        "report.html",
        "tables.md",
        "scores.csv",
        "comparisons.csv",
        "wins.csv",
        "scores-reward.png",
        "scores-preference_ratio.png",
        "scores-fluency_nll.png",
        "trade-off.png",
        "wins.png",
    ]
    assert all(path.stat().st_size > 100 for path in paths)
    assert {path.name for path in paths[0].parent.iterdir()} == {path.name for path in paths}


def test_the_page_holds_all_of_it(whole):
    page = Page(whole[1])
    assert page.open == []
    assert page.tags.count("h1") == 1
    assert page.tags.count("img") == 5
    for words in (
        "Recommended: amulet@2",
        "creative: more lexical variety",
        "Preference ratio",
        "never proves by itself that they are better",
        "Differences from pref",
        "unreadable replies",
        "Question 1 of sea?",
        "versions.torch",
    ):
        assert words in page.text


def test_the_page_needs_nothing_else(whole):
    page = Page(whole[1])
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://", whole[1])
    sections = set(re.findall(r'id="(\w+)"', whole[1]))
    assert {link[1:] for link in page.links if link.startswith("#")} <= sections


def test_strengths_are_in_the_curve_and_only_the_recommended_one_among_methods(whole):
    _, text = whole
    scores = text[text.index('id="scores"') : text.index('id="strength"')]
    assert "amulet@2<" in scores
    assert "amulet@200" not in scores
    assert "amulet@200" in text


def test_what_people_wrote_is_shown_and_not_obeyed(tmp_path):
    answers = [
        made.answer(
            method,
            text=HOSTILE,
            question=HOSTILE,
            preference=HOSTILE,
            data_set=HOSTILE,
            scores={HOSTILE: 1.0, "words": 2.0},
        )
        for method in ("base", HOSTILE)
    ]
    settings = {HOSTILE: HOSTILE, "model": HOSTILE}
    paths, text = report(tmp_path, answers, [], settings)
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.text.count("<script>alert('x')</script>\"'&{{ 7 * 7 }}{% raw %}") >= 8
    assert not set(text) & {"\0", "\x1b", "\ud800"}
    assert all(path.parent == tmp_path for path in paths)


def test_other_files_are_left_alone_and_an_old_report_is_replaced(tmp_path):
    (tmp_path / "answers.jsonl").write_text("mine")
    (tmp_path / "report.html").write_text("old")
    _, text = report(tmp_path, [made.answer(scores={"words": 1.0})], [])
    assert (tmp_path / "answers.jsonl").read_text() == "mine"
    assert "old" not in text[:100]


def test_a_run_without_judge_strengths_or_scores(tmp_path):
    paths, text = report(tmp_path, [made.answer()], [])
    assert [path.name for path in paths] == ["report.html", "tables.md", "scores.csv"]
    assert Page(text).open == []


def test_no_answers_are_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(EvaluationError, match="no answer to report"):
        write_report(SETTINGS, [], [], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written to"):
        write_report(SETTINGS, [made.answer()], [], tmp_path / "file" / "folder")


def test_without_matplotlib_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "amulet_integrations.evaluation.reporting.plots.find_spec", lambda name: None
    )
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        write_report(SETTINGS, [made.answer()], [], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_settings_are_a_line_each():
    settings = {
        "seed": 0,
        "sample": None,
        "set_up": {"name": "paper", "system": "Be kind."},
        "methods": [{"name": "amulet", "params": {"alpha": 2.0}}],
        "order": ["a", "b"],
        "nothing": [],
    }
    assert dict(flat_settings(settings)) == {
        "seed": "0",
        "sample": "null",
        "set_up.name": "paper",
        "set_up.system": "Be kind.",
        "methods.amulet": "params.alpha 2.0",
        "order": "a, b",
    }
