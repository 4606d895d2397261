"""The page holds everything, obeys no text of an answer, and needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from amulet_integrations.errors import EvaluationError, MissingDependencyError
from amulet_integrations.evaluation.reporting import report_tables, write_report
from amulet_integrations.evaluation.reporting.html_page import flat_settings, render_page
from amulet_integrations.evaluation.reporting.report_contents import ReportContents
from tests.unit.evaluation import made

NAME = "<script>alert('x')</script>\"'&{{ 7 * 7 }}{% raw %}\0\x1b[31m\u202e"
HOSTILE = f"{NAME}\ud800"  # what names of methods and preferences cannot hold


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


def report(folder, answers=None, outcomes=None, **settings):
    answers = made.run(questions=4) if answers is None else answers
    outcomes = made.outcomes() if outcomes is None else outcomes
    paths = write_report(made.evaluation(answers, outcomes, **settings), folder)
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
        "scores-pref_nll.png",
        "scores-broken.png",
        "frontier.png",
        "wins.png",
    ]
    assert all(path.stat().st_size > 100 for path in paths)
    assert {path.name for path in paths[0].parent.iterdir()} == {path.name for path in paths}


def test_the_page_holds_all_of_it(whole):
    page = Page(whole[1])
    assert page.open == []
    assert page.tags.count("h1") == 1
    assert page.tags.count("img") == 6
    for words in (
        "Recommended: amulet@2",
        "creative: more lexical variety",
        "Preference ratio",
        "never proves by itself that they are better",
        "Differences between methods",
        "unreadable replies",
        "Question 1 of sea?",
        "versions.torch",
        "These tables leave out amulet@1, amulet@5, amulet@10, amulet@30, amulet@60, amulet@200",
    ):
        assert words in page.text


def test_the_page_needs_nothing_else(whole):
    page = Page(whole[1])
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://", whole[1])
    dark = whole[1].partition("prefers-color-scheme: dark) {")[2]
    assert "figure img { filter: invert(1)" in dark.partition("\n}")[0]
    sections = set(re.findall(r'id="(\w+)"', whole[1]))
    assert {link[1:] for link in page.links if link.startswith("#")} <= sections


def test_strengths_are_in_the_frontier_and_only_the_recommended_one_among_methods(whole):
    _, text = whole
    scores = text[text.index('id="scores"') : text.index('id="strength"')]
    assert "amulet@2<" in scores
    assert "amulet@200</bdi></th>" not in scores
    assert "amulet@200</bdi></th>" in text


def test_hostile_texts_are_shown_and_not_obeyed(tmp_path):
    answers = [
        made.answer(
            method,
            text=HOSTILE,
            question=HOSTILE,
            preference=NAME,
            data_set=HOSTILE,
            scores={HOSTILE: 1.0, "words": 2.0},
        )
        for method in ("base", NAME)
    ]
    outcomes = [
        outcome.model_copy(update={"method": NAME, "preference": NAME})
        for name in (HOSTILE, HOSTILE + "2")
        for outcome in made.outcomes((NAME,), judge=name)
    ]
    paths, text = report(
        tmp_path,
        answers,
        outcomes,
        model=HOSTILE,
        scorers=(HOSTILE,),
        judges=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
        left_out={HOSTILE: 1},
    )
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert page.text.count("<script>alert('x')</script>\"'&{{ 7 * 7 }}{% raw %}") >= 20
    assert not set(text) & {"\0", "\x1b", "\ud800"}
    assert all(path.parent == tmp_path for path in paths)


def test_other_files_are_left_alone_and_an_old_report_is_replaced(tmp_path):
    (tmp_path / "answers.jsonl").write_text("mine")
    (tmp_path / "report.html").write_text("old")
    _, text = report(tmp_path, [made.answer(scores={"words": 1.0})], [])
    assert (tmp_path / "answers.jsonl").read_text() == "mine"
    assert "old" not in text[:100]


def test_nothing_of_a_former_report_stays_beside_a_new_one(tmp_path):
    from matplotlib.figure import Figure

    Figure().savefig(tmp_path / "scores-mine.png")
    (tmp_path / "scores-of-mine.csv").write_text("mine")
    mine = {path.name for path in tmp_path.iterdir()}
    answers = made.run(questions=2)
    answers[0] = answers[0].model_copy(update={"scores": {"my tone": 1.0} | answers[0].scores})
    former, _ = report(tmp_path, answers)
    assert any(path.name.startswith("scores-my_tone") for path in former)
    assert {"wins.csv", "wins.png", "frontier.png"} < {path.name for path in former}
    paths, _ = report(tmp_path, [made.answer(scores={"reward": 1.0})], [])
    assert {path.name for path in tmp_path.iterdir()} == mine | {path.name for path in paths}
    assert len(paths) == 4


def samples_of(answers):
    """The methods of the page's sample answers, and the text about those without one."""
    text = render_page(ReportContents(made.evaluation(answers)), {})
    part = text[text.index('<section id="samples">') : text.index('<section id="notes">')]
    headings = re.findall(r"<h4><bdi>(.+?)</bdi></h4>", part)
    return headings, re.findall(r"no room for those of <bdi>(.+?)</bdi>", part)


@pytest.mark.parametrize("others", [2, 5])
def test_samples_show_the_recommended_strength_and_name_what_is_left_out(others):
    points = {f"linear_alignment@{n}": (0.1, 9.0) for n in range(1, others + 1)}
    points |= {"amulet@60": (0.9, 9.0), "amulet@2": (0.5, 1.0)}
    points |= {"pref": (0.1, 1.0), "base": (0.0, 1.0)}
    answers = [made.measured(method, 0, *point) for method, point in points.items()]
    shown, missing = samples_of(answers)
    assert shown == [
        *("base", "pref", "amulet@60", "amulet@2", "linear_alignment@1", "linear_alignment@2")
    ]
    assert missing == [", ".join(f"linear_alignment@{n}" for n in range(3, others + 1))] * (
        others > 2
    )


def test_a_run_without_judge_strengths_or_scores(tmp_path):
    paths, text = report(tmp_path, [made.answer()], [])
    assert [path.name for path in paths] == ["report.html", "tables.md", "scores.csv"]
    assert Page(text).open == []


def test_no_answers_are_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(EvaluationError, match="no answer to report"):
        write_report(made.evaluation([]), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written to"):
        write_report(made.evaluation([made.answer()]), tmp_path / "file" / "folder")


def test_without_matplotlib_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "amulet_integrations.evaluation.reporting.plots.find_spec", lambda name: None
    )
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        write_report(made.evaluation([made.answer()]), tmp_path / "new")
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


def test_the_page_and_the_markdown_name_scorers_judges_and_versions(tmp_path):
    settings = {
        "model_revision": "abc123",
        "dtype": "bfloat16",
        "device": "cuda:0",
        "versions": {"torch": "9.8", "transformers": "7.6"},
        "scorers": ("likelihoods", "reward:some/judge [6]"),
        "judges": ("ann", "bob"),
    }
    paths, text = report(tmp_path, [made.answer()], [], **settings)
    page = Page(text[text.index('<section id="measured">') : text.index('<section id="settings">')])
    markdown = (
        next(path for path in paths if path.name == "tables.md").read_text().replace("\\", "")
    )
    for text_part in (
        "abc123",
        "bfloat16 on cuda:0",
        "likelihoods, reward:some/judge [6]",
        "ann, bob",
        "torch 9.8, transformers 7.6",
    ):
        assert text_part in page.text
        assert text_part in markdown


def test_questions_that_were_too_long_are_counted(tmp_path):
    paths, text = report(tmp_path, [made.answer()], [], left_out={"sea": 3})
    header = text[: text.index("</header>")]
    assert "Left out: 3 of sea: too long for the model" in Page(header + "</header></main>").text
    assert "3 of sea: too long" in paths[1].read_text()
    _, text = report(tmp_path, [made.answer()], [])
    assert "too long" not in text


def test_an_unmeasured_score_is_mentioned_once_in_each_form(tmp_path):
    answers = [
        made.answer(preference=name, scores={"lexical_variety": 0.5})
        for name in ("creative", "verbose", "concise")
    ]
    paths, text = report(tmp_path, answers, [])
    assert text.count("was not measured") == 1
    assert paths[1].read_text().count("was not measured") == 1


def test_two_judges_are_separate_on_the_page(tmp_path):
    outcomes = [
        *made.outcomes(("base",), judge="ann"),
        *made.outcomes(("base",), judge="bob", seed=2),
    ]
    _, text = report(tmp_path, [made.answer()], outcomes)
    page = Page(text)
    for judge in ("ann", "bob"):
        for preference in ("all", "creative", "concise"):
            assert page.text.count(f"{preference}, judged by {judge}") == 1


def test_scores_of_like_names_have_a_picture_each(tmp_path):
    names = ("my tone", "my_tone", "My_tone", "x" * 300)
    answers = [made.answer(scores=dict.fromkeys(names, 1.0))]
    paths, text = report(tmp_path, answers, [])
    pictures = {path.name.lower() for path in paths if path.suffix == ".png"}
    assert len(pictures) == 4
    assert Page(text).tags.count("img") == 4


def test_tables_as_text_without_a_file():
    answers = [
        made.answer(method, preference="formal", index=index, scores={"reward": value})
        for index in range(2)
        for method, value in (("base", 1.0), ("pref", 3.0))
    ]
    scores, differences = map(str, report_tables(made.evaluation(answers)))
    assert scores.startswith("Reward\n")
    assert "base    1.000 [1.000, 1.000]" in scores
    assert differences.startswith("Differences between methods\n")
    assert "-2.000 [-2.000, -2.000]" in differences
