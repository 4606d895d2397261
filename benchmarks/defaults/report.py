"""Tables in Markdown, the frontier as a picture, and what the rule chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.runs.journal import Journal
from benchmarks.defaults.ends import ends_table
from benchmarks.defaults.frontier import write_frontier
from benchmarks.defaults.parts import ANSWERS, screened_facts
from benchmarks.defaults.questions import (
    ABOUT_FORM,
    PREFERENCES,
    SCREENED_OF_EACH_SET,
    questions,
)
from benchmarks.defaults.rule import Choice, choose, misses
from benchmarks.defaults.scores import Relevance, Scored
from benchmarks.defaults.settings import BASE, PAPER, PREF
from benchmarks.defaults.study import RecordedAnswer


def write_report(folder: Path, set_up: str, *, confirmed: bool) -> str:
    """Writes tables and the frontier into the folder, and returns the tables.

    Args:
        folder: Where the answers are.
        set_up: The answers to whose prompt are looked at.
        confirmed: Whether all questions and facts count, or those of the screening.
    """
    answers = Journal.read(folder / ANSWERS, RecordedAnswer)
    chosen = questions() if confirmed else questions(SCREENED_OF_EACH_SET)
    facts = None if confirmed else {fact.key for fact in screened_facts(answers)}
    of_set_up = [answer for answer in answers if answer.set_up == set_up]
    relevance = Relevance(
        folder / "relevance.json", {question.key: question.text for question in chosen}
    )
    settings = _scored(of_set_up, relevance, {question.key for question in chosen}, facts)
    name = f"{'confirmed' if confirmed else 'screened'}-{set_up}"
    shared = _shared_with_most(settings)
    compared = {name: each for name, each in settings.items() if name in shared}
    choice = choose(
        {
            name: each.figures(_beside(settings[PREF.name], each))
            for name, each in compared.items()
            if name not in (BASE.name, PREF.name)
        }
    )
    text = "\n\n".join(
        [
            f"# {name}",
            _told(choice),
            _main_table(settings),
            _preference_table(settings, [BASE.name, PREF.name, choice.name]),
            ends_table(settings),
        ]
    )
    (folder / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    write_frontier(folder / f"{name}.png", compared, settings[PREF.name], choice.name)
    return text


def _scored(
    answers: Iterable[RecordedAnswer], relevance: Relevance, keys: set[str], facts: set[str] | None
) -> dict[str, Scored]:
    """The settings, each with the questions that it has answered under every preference."""
    by_setting: dict[str, list[RecordedAnswer]] = {}
    known: dict[str, list[RecordedAnswer]] = {}
    for answer in answers:
        if answer.set_ == "facts":
            if facts is None or answer.asked in facts:
                known.setdefault(answer.setting, []).append(answer)
        elif answer.asked in keys:
            by_setting.setdefault(answer.setting, []).append(answer)
    scored = {
        name: Scored(relevance.score(_whole(of_setting)), known.get(name, []))
        for name, of_setting in by_setting.items()
    }
    pref = scored[PREF.name]
    return {
        name: each.on(each.cells.keys() & pref.cells.keys(), each.facts.keys() & pref.facts.keys())
        for name, each in scored.items()
    }


def _whole(answers: Sequence[RecordedAnswer]) -> list[RecordedAnswer]:
    under: dict[str, int] = {}
    for answer in answers:
        under[answer.asked] = under.get(answer.asked, 0) + 1
    return [answer for answer in answers if under[answer.asked] == len(PREFERENCES)]


def _beside(pref: Scored, setting: Scored) -> Scored:
    return pref.on(setting.cells, setting.facts)


def _shared_with_most(settings: Mapping[str, Scored]) -> set[str]:
    """The settings that have answered nearly as many questions as the one with the most."""
    most = max(len(each.cells) for each in settings.values())
    return {name for name, each in settings.items() if len(each.cells) > 0.9 * most}


def _told(choice: Choice) -> str:
    if not choice.misses:
        return f"Chosen: **{choice.name}**, the largest ratio of those that pass."
    missed = ", ".join(f"{name} by {miss:.2f}" for name, miss in choice.misses.items())
    return f"None passes. **{choice.name}** misses least ({missed}; in shares of what is allowed)."


def _main_table(settings: Mapping[str, Scored]) -> str:
    pref = settings[PREF.name]
    rows = []
    for name in sorted(settings, key=_order):
        each = settings[name]
        beside = _beside(pref, each)
        figures = each.figures(beside)
        missed = misses(figures)
        rows.append(
            [
                name,
                _interval(each.mean("ratio")),
                _interval(each.above(beside, "pref_nll")),
                _interval(each.above(beside, "relevance", ABOUT_FORM)),
                _interval(each.above(beside, "repetition")),
                f"{figures.broken} / {figures.pref_broken} of {figures.answers}",
                f"{figures.right} / {figures.pref_right} of {figures.facts}",
                _value(each.mean("fluency_nll"), 3),
                _value(each.mean("words"), 1),
                f"{_held(each):.0%}",
                "-" if name in (BASE.name, PREF.name) else ", ".join(missed) or "passes",
            ]
        )
    head = [
        "setting",
        "ratio",
        "nll under pref, rise",
        "relevance (form), rise",
        "repeated pairs, rise",
        "broken / pref's",
        "facts / pref's",
        "nll under base",
        "words",
        "held",
        "misses",
    ]
    return _table(head, rows)


def _preference_table(settings: Mapping[str, Scored], names: Sequence[str]) -> str:
    head = ["preference", *(f"{name}: ratio / nll / relevance / words" for name in names)]
    rows = [
        [
            preference,
            *(
                " / ".join(
                    _value(settings[name].mean(score, [preference]), digits)
                    for score, digits in (
                        ("ratio", 3),
                        ("pref_nll", 3),
                        ("relevance", 3),
                        ("words", 1),
                    )
                )
                for name in names
            ),
        ]
        for preference in PREFERENCES
    ]
    return _table(head, rows)


def _order(name: str) -> tuple[int, str]:
    first = [BASE.name, PREF.name]
    return (first.index(name) if name in first else 3 if name == PAPER.name else 2), name


def _held(scored: Scored) -> float:
    held = [score.answer.held for score in scored.cells.values()]
    return sum(held) / len(held)


def _interval(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return _value(found, 3)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _value(found: Estimate | None, digits: int) -> str:
    return "-" if found is None else f"{found.mean:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
