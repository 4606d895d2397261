"""A sweep beside the evaluation of the same answers, and what it shows."""

from __future__ import annotations

import json
import math
import pickle
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch

from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    AmuletError,
    EvaluationError,
    GuidanceScaleError,
    InvalidParamsError,
    MissingDependencyError,
)
from amulet_integrations.evaluation import (
    DEFAULT_STRENGTHS,
    Question,
    Sweep,
    TextScorer,
    evaluate,
    sweep,
)
from amulet_integrations.evaluation.analysis.frontier import find_frontier
from amulet_integrations.evaluation.sweeping.score_charts import BOTTOM, TOP, score_charts
from amulet_integrations.evaluation.sweeping.sweep_page import balanced
from amulet_integrations.evaluation.sweeping.sweep_table import axis_labels, sweep_table
from amulet_integrations.evaluation.sweeping.swept_strengths import read_strengths, strength_labels
from tests.unit.evaluation import made

QUESTIONS = ["How do I make tea?", "Why is the sea blue?"]
PREFERENCE = "Be brief."
HOSTILE = '<script>alert(1)</script>\x1b[31m**bold** [link](x) {{ 7*7 }} $x$ \u202eevil & "it\'s"'


class Texts(HTMLParser):
    """What a page shows, and the elements and attributes that it is made of."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden = tag in {"style", "script"}
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


@pytest.fixture(scope="module")
def swept(tiny_engine: LocalEngine) -> Sweep:
    return sweep(
        tiny_engine, QUESTIONS, PREFERENCE, max_new_tokens=8, scorers=[TextScorer()], system="Hi."
    )


def made_sweep(text="It is.", ratios=(0.1, 0.2, 0.3), nlls=(0.8, 0.85, 2.5), **more) -> Sweep:
    """A sweep of these ratios and costs at pref, amulet@p=2,kl=0.1 and amulet@paper."""
    methods = ("pref", "amulet@p=2.5,kl=0.1", "amulet@paper")
    answers = [
        made.measured(method, index, ratio, nll, text=text, fluency_nll=nll, words=3.0)
        for index in range(more.pop("questions", 1))
        for method, ratio, nll in zip(methods, ratios, nlls, strict=True)
    ]
    return Sweep(made.evaluation(answers, **more))


def test_scores_are_what_the_evaluation_of_the_same_methods_gives(
    swept: Sweep, tiny_engine: LocalEngine
) -> None:
    methods = ["base", "pref", *(f"amulet@{name}" for name in DEFAULT_STRENGTHS)]
    found = evaluate(
        tiny_engine,
        [Question(data_set="asked", index=at, text=text) for at, text in enumerate(QUESTIONS)],
        [PREFERENCE],
        methods,
        max_new_tokens=8,
        set_up=swept.evaluation.settings.set_up,
        scorers=[TextScorer()],
    )
    assert [point.method for point in swept.strengths] == methods
    for ours, theirs in zip(swept.evaluation.answers, found.answers, strict=True):
        assert (ours.method, ours.token_ids) == (theirs.method, theirs.token_ids)
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-5)
    for point in swept.strengths:
        for score, mean in point.scores.items():
            assert mean.mean == pytest.approx(found.mean(score, method=point.method), abs=1e-5)
    frontier = find_frontier(found.answers, found.methods)
    expected = frontier.recommended and frontier.recommended.method
    assert (swept.recommended and swept.recommended.method) == expected


def test_likelihoods_are_those_of_a_slow_recomputation(
    swept: Sweep, tiny_engine: LocalEngine
) -> None:
    builder = swept.evaluation.settings.set_up.prompts(tiny_engine.tokenizer)
    from amulet_integrations.prompting import ChatMessage

    for answer in swept.evaluation.answers:
        turns = [ChatMessage(role="user", content=answer.question)]
        logprobs = []
        for context in builder.contexts(turns, [None, PREFERENCE]):
            ids = torch.tensor([[*context, *answer.token_ids]])
            logits = tiny_engine.run_model(
                lambda model, ids=ids: model(ids).logits[0].detach().double()
            )
            rows = logits[len(context) - 1 : -1].log_softmax(dim=-1)
            logprobs.append(float(rows[range(len(answer.token_ids)), answer.token_ids].mean()))
        base, pref = logprobs
        assert answer.scores["preference_ratio"] == pytest.approx(pref - base, abs=1e-5)
        assert answer.scores["pref_nll"] == pytest.approx(-pref, abs=1e-5)
        assert answer.scores["fluency_nll"] == pytest.approx(-base, abs=1e-5)


@pytest.mark.parametrize("drawn", range(6))
def test_the_recommendation_is_that_of_evaluate(drawn: int) -> None:
    random = np.random.default_rng(drawn)
    names = ["base", "pref", "amulet@gentle", "amulet@default", "amulet@paper"]
    answers = [
        made.measured(name, index, ratio, nll)
        for index in range(3)
        for name, ratio, nll in zip(
            names, random.normal(0.2, 0.2, 5), random.uniform(0.7, 1.2, 5), strict=True
        )
    ]
    swept = Sweep(made.evaluation(answers))
    frontier = find_frontier(answers, swept.evaluation.methods)
    expected = frontier.recommended
    assert (swept.recommended and swept.recommended.method) == (expected and expected.method)
    assert swept.to_dict()["recommended"] == (expected and expected.method)
    for point in frontier.points:
        ours = next(it for it in swept.strengths if it.method == point.method)
        assert list(ours.missed) == frontier.missed(point)


@pytest.mark.parametrize(
    ("strengths", "max_kl", "expected"),
    [
        ("strong", "default", {"base": (0, None), "pref": (1, None), "amulet@strong": (3, 0.3)}),
        ([0, 1, 2], "default", {"base": (0, None), "pref": (1, None), "amulet@default": (2, 0.1)}),
        (
            [4, 0.5],
            "default",
            {
                "base": (0, None),
                "amulet@p=0.5,kl=none": (0.5, None),
                "pref": (1, None),
                "amulet@p=4,kl=0.1": (4, 0.1),
            },
        ),
        (
            ["strong", 2.5],
            None,
            {
                "base": (0, None),
                "pref": (1, None),
                "amulet@p=2.5,kl=none": (2.5, None),
                "amulet@p=3,kl=none": (3, None),
            },
        ),
        (
            [(3, 0.2), (3, None), (3, 0.3), "strong", 3],
            "default",
            {
                "base": (0, None),
                "pref": (1, None),
                "amulet@p=3,kl=0.1": (3, 0.1),
                "amulet@p=3,kl=0.2": (3, 0.2),
                "amulet@strong": (3, 0.3),
                "amulet@p=3,kl=none": (3, None),
            },
        ),
        (PRESETS["gentle"], "default", {"base": (0, None), "pref": (1, None), "amulet@gentle": (1.25, 0.1)}),  # noqa: E501
        ([-2], 0.5, {"amulet@p=-2,kl=0.5": (-2, 0.5), "base": (0, None), "pref": (1, None)}),
    ],
    ids=str,
)  # fmt: skip
def test_strengths_are_read(strengths, max_kl, expected) -> None:
    from amulet_integrations.evaluation import read_methods
    from amulet_integrations.evaluation.data.methods import strength_of

    methods = read_strengths(strengths, max_kl)
    assert {method.name: strength_of(method) for method in methods} == expected
    assert [*expected] == [method.name for method in methods]
    again = read_methods([method.name for method in methods])
    assert [strength_of(method) for method in again] == [*expected.values()]


def test_labels_tell_strengths_apart() -> None:
    methods = read_strengths([(3, 0.2), (3, None), (3, 0.3), 4])
    assert [*strength_labels(methods).values()] == [
        "base", "pref", "p = 3, KL 0.2", "strong", "p = 3, no bound", "p = 4",
    ]  # fmt: skip


def test_every_name_has_room_below_a_chart() -> None:
    scales = [1.5 + place / 2 for place in range(20)]
    methods = read_strengths(scales)
    for best in range(2, 22):
        answers = [
            made.measured(method.name, 0, float(place == best), 0.8, fluency_nll=0.8)
            for place, method in enumerate(methods)
        ]
        labels = axis_labels(Sweep(made.evaluation(answers, methods=methods)))
        assert labels[best]
        assert 5 <= len([label for label in labels if label]) <= 9


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"strengths": []}, EvaluationError, "no strength"),
        ({"strengths": ["bold"]}, EvaluationError, "'bold'"),
        ({"strengths": [None]}, EvaluationError, "None"),
        ({"strengths": [math.nan]}, InvalidParamsError, "nan"),
        ({"strengths": [50]}, GuidanceScaleError, "50"),
        ({"strengths": [(2, -1)]}, InvalidParamsError, "-1"),
        ({"max_kl": "much"}, InvalidParamsError, "much"),
        ({"questions": []}, EvaluationError, "no question"),
        ({"questions": " "}, EvaluationError, "blank"),
        ({"questions": ["Why?", "Why? "]}, EvaluationError, "given twice"),
        ({"preferences": " "}, EvaluationError, "preference"),
        ({"preferences": []}, EvaluationError, "no preference"),
        ({"max_new_tokens": 0}, InvalidParamsError, "max_new_tokens"),
        ({"temperature": -1.0}, InvalidParamsError, "temperature"),
        ({"allowance": -0.1}, EvaluationError, "allowance"),
        ({"scorers": [3.5]}, EvaluationError, "no scorer"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_a_model_is_loaded(
    changes, error, named, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amulet_integrations.engine.shared_engine", None)  # whoever calls it fails
    arguments = {"model": "embedded", "questions": "Why?", "preferences": "Be brief."}
    with pytest.raises(error, match=re.escape(named)) as caught:
        sweep(**{**arguments, "scorers": [], **changes})
    assert isinstance(caught.value, AmuletError)


def test_one_strength_is_shown_and_nothing_recommended(tiny_engine: LocalEngine) -> None:
    found = sweep(tiny_engine, "Why?", PREFERENCE, 2, max_new_tokens=3, scorers=[TextScorer()])
    assert [point.label for point in found.strengths] == ["base", "pref", "default"]
    assert found.recommended is None
    assert not found.is_usable
    assert "two strengths" in found.recommendation
    assert found.recommendation in Texts(found.to_html()).text
    assert found.to_png().startswith(b"\x89PNG")


def test_it_says_on_how_many_answers_it_rests() -> None:
    few, many = made_sweep(questions=3), made_sweep(questions=12)
    assert "3 answers at each strength, to 3 questions: too few" in few.basis
    assert "12 answers at each strength, to 12 questions." in many.basis
    assert made_sweep().basis.startswith("It rests on 1 answer at each strength, to 1 question:")
    assert few.recommended.label == "p = 2.5"
    for found in (few, many):
        assert found.basis in Texts(found.to_html()).text


@pytest.mark.parametrize("form", ["to_html", "_repr_html_"])
def test_hostile_texts_show_as_text(form: str) -> None:
    answers = [
        made.measured(
            method, 0, 0.1 * place, 0.8, text=HOSTILE, question=HOSTILE, fluency_nll=0.5, words=3.0
        )
        for place, method in enumerate(("pref", "amulet", "amulet@strong"))
    ]
    preferences = (made.Preference(name="creative", text=HOSTILE),)
    found = Sweep(made.evaluation(answers, preferences=preferences, model=HOSTILE))
    page = getattr(found, form)()
    shown = HOSTILE.replace("\x1b", "\u241b").replace("\u202e", "\ufffd")
    texts = Texts(page)
    # The question, the preference, the model (twice), and an answer for each strength.
    assert texts.text.count(shown) == 1 + 1 + 2 + 3
    assert "script" not in texts.tags
    assert not {"src", "href", "onload", "onclick", "srcset"} & texts.attributes.keys()
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "url(" not in page
    assert "@import" not in page
    if form == "to_html":
        assert found.to_png().startswith(b"\x89PNG")


def test_its_repr_shows_no_text(swept: Sweep) -> None:
    assert "questions=2" in repr(swept)
    for private in (*QUESTIONS, PREFERENCE, *(it.text for it in swept.evaluation.answers)):
        assert private.strip() == "" or private not in repr(swept)


def test_the_page_has_every_answer_with_its_scores(swept: Sweep) -> None:
    text = Texts(swept.to_html()).text
    for question in QUESTIONS:
        assert question in text
    for answer in swept.evaluation.answers:
        assert f"Words{answer.scores['words']:.0f}" in text
        ratio = re.sub(r"^-(0\.0+)$", r"\1", f"{answer.scores['preference_ratio']:.2f}")
        assert f"Preference ratio{ratio}" in text
    assert "Content-Security-Policy" in swept.to_html()


def test_the_fragment_styles_nothing_but_itself(swept: Sweep) -> None:
    style = re.search(r"<style>(.*)</style>", swept._repr_html_(), re.DOTALL)[1]
    for selectors in re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]*\{", "", style)):
        for selector in selectors.split(","):
            assert selector.strip().startswith(".amulet-sweep"), selector


def test_it_survives_json_and_pickle(swept: Sweep) -> None:
    content = json.loads(json.dumps(swept.to_dict(), allow_nan=False))
    assert [one["label"] for one in content["strengths"]] == ["base", "pref", *DEFAULT_STRENGTHS]
    assert content["strengths"][3] == {
        **content["strengths"][3],
        "method": "amulet@default",
        "guidance_scale": 2.0,
        "max_kl": 0.1,
    }
    assert len(content["answers"]) == 2 * 6
    assert content["preferences"] == [{"name": PREFERENCE, "text": PREFERENCE}]
    assert pickle.loads(pickle.dumps(swept)).to_dict() == swept.to_dict()  # noqa: S301


def test_files_are_written_and_refused_where_they_cannot_be(swept: Sweep, tmp_path) -> None:
    assert swept.save_html(tmp_path / "a.html").read_text() == swept.to_html()
    assert swept.save_plot(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for save in (swept.save_html, swept.save_plot):
        for none in (tmp_path, tmp_path / "missing" / "a"):
            with pytest.raises(EvaluationError, match="Choose another file"):
                save(none)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.png"]


def test_only_the_plot_needs_matplotlib(swept: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [it for it in sys.modules if it.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("amulet_integrations.evaluation.reporting.plots.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="evaluation"):
        swept.to_png()
    assert "<svg" in swept.to_html()
    assert "matplotlib" not in sys.modules


@pytest.mark.parametrize(
    ("ratios", "far"), [((0.1, 0.2, 0.3), False), ((-0.2, 0.3, 4.0), True), ((0.1,) * 3, False)]
)
def test_charts_place_values_in_their_order(ratios, far: bool) -> None:
    for questions in (1, 4):
        charts = score_charts(made_sweep(ratios=ratios, questions=questions))
        chart = charts[0]
        assert chart.label == "Preference ratio"
        assert chart.is_far_apart == far
        for lower, higher in pairwise(chart.marks):
            assert lower.x < higher.x
            assert lower.y >= higher.y
        places = [place for place, _ in chart.ticks]
        assert 1 <= len(places) <= 8
        for one in charts:
            assert all(TOP <= place <= BOTTOM for place in (it[0] for it in one.ticks))
            assert all(TOP <= mark.y <= BOTTOM for mark in one.marks)
        cost = charts[1]
        assert [mark.y < cost.limit for mark in cost.marks] == [False, False, True]
        assert cost.past == (TOP, cost.limit - TOP)


def test_what_is_past_a_limit_is_marked_by_the_frontier_and_not_by_the_means() -> None:
    # The second answer of pref has no tokens, so the frontier looks at the first questions alone.
    answers = [
        made.measured("pref", 0, 0.1, 0.5),
        made.answer("pref", index=1, scores={"broken": 1.0}),
        *(made.measured(name, 0, 0.2, 0.55) for name in ("amulet", "amulet@paper")),
        *(made.measured(name, 1, 0.2, 1.5) for name in ("amulet", "amulet@paper")),
    ]
    found = Sweep(made.evaluation(answers, methods=made.named("pref", "amulet", "amulet@paper")))
    assert [point.missed for point in found.strengths] == [(), (), ()]
    chart = next(chart for chart in score_charts(found) if chart.label == "Pref NLL")
    assert [mark.past for mark in chart.marks] == [False, False, False]
    assert chart.marks[1].y < chart.limit
    assert "0.500 1 of 2" in str(sweep_table(found))
    page = Texts(found.to_html()).text
    assert "1 of 2" in page
    assert "of how many the mean is" in page
    far = made_sweep(nlls=(0.8, 0.85, 2.5))
    assert [mark.past for mark in score_charts(far)[1].marks] == [False, False, True]


@pytest.mark.parametrize(
    ("items", "most", "columns"),
    [(6, 6, 6), (7, 6, 4), (8, 6, 4), (13, 6, 5), (1, 6, 1), (3, 1, 1)],
)
def test_rows_are_filled_evenly(items: int, most: int, columns: int) -> None:
    assert balanced(items, most) == columns
