"""The report as one HTML page without a script, a network or a file beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from amulet_integrations.evaluation.data.record_types import Answer, Method
from amulet_integrations.evaluation.metrics.builtin_scores import (
    PREF_NLL,
    PREFERENCE_RATIO,
    REWARD,
    WORDS,
    note_of,
)
from amulet_integrations.html_templates import open_templates
from amulet_integrations.terminal_text import safe

from . import result_tables
from .plots import score_plot_name
from .report_contents import ReportContents
from .score_tables import outcome_text, score_text
from .text_tables import format_number

_TEMPLATE = "report.html.j2"
_QUESTIONS = 3  # of each preference among the sample answers
_METHODS = 6  # whose sample answers are side by side
_SHOWN_SCORES = (REWARD, PREFERENCE_RATIO, PREF_NLL, WORDS)


class Picture(NamedTuple):
    """A plot.

    Attributes:
        title: A description for those who cannot see it.
        png: The image.
    """

    title: str
    png: bytes


def render_page(contents: ReportContents, pictures: Mapping[str, Picture]) -> str:
    """Renders the page.

    Args:
        contents: The contents of the report.
        pictures: The plots by name.
    """
    environment = open_templates(Path(__file__).parent)
    environment.filters["data_uri"] = _data_uri
    environment.filters["facts"] = _score_line
    frontiers, answers = contents.frontiers, contents.evaluation.answers
    methods = _sample_methods(contents.compared_methods, contents.recommended)
    wins = map(result_tables.win_text, (contents.counts, contents.counts_by_preference))
    page = environment.get_template(_TEMPLATE).render(
        contents=contents,
        numbers={
            "answers": len(answers),
            "questions": len({(answer.data_set, answer.index) for answer in answers}),
            "data sets": len({answer.data_set for answer in answers}),
            "preferences": len({answer.preference for answer in answers}),
            "methods": len({answer.method for answer in answers}),
        },
        recommendation=result_tables.recommendation(frontiers[0]) if frontiers else None,
        main=[(score_plot_name(table.score), score_text(table)) for table in contents.main_tables],
        others=[score_text(table) for table in contents.other_tables],
        outcome=outcome_text(contents.compared),
        comparison=result_tables.comparison_text(contents.comparisons),
        frontiers=[result_tables.frontier_text(each) for each in frontiers],
        strengths=result_tables.strength_text(frontiers, contents.whole_tables),
        wins=[table for table in wins if table is not None],
        samples=list(_choose_samples(contents.compared, methods[:_METHODS])),
        not_shown=", ".join(methods[_METHODS:]),
        notes=[note_of(table.score) for table in contents.tables],
        pictures=pictures,
        settings=list(flat_settings(contents.evaluation.settings.model_dump(mode="json"))),
    )
    return safe(page)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields a name and a value for each setting. Names of nested settings have dots."""
    for name, value in settings.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{full}.")
        elif not isinstance(value, list | tuple):
            yield full, value if isinstance(value, str) else json.dumps(value, default=str)
        elif value and all(isinstance(item, Mapping) and "name" in item for item in value):
            for item in value:
                rest = flat_settings({key: it for key, it in item.items() if key != "name"})
                yield f"{full}.{item['name']}", ", ".join(f"{key} {it}" for key, it in rest)
        elif value:
            yield full, ", ".join(map(str, value))


def _sample_methods(methods: Sequence[Method], recommended: str | None) -> list[str]:
    """Returns the names of methods in the order in which they get room for sample answers.

    First come base, pref, the first method of Amulet and the recommended one.
    """
    first = [
        next((method.name for method in methods if method.kind == kind), None)
        for kind in ("base", "pref", "amulet")
    ]
    names = [method.name for method in methods]
    return [name for name in dict.fromkeys([*first, recommended, *names]) if name in names]


def _choose_samples(answers: Sequence[Answer], methods: Sequence[str]) -> Iterator[list[Answer]]:
    """Yields the answers to questions spread over the run, the same ones for each preference.

    Each list has the answers of all methods to one question under one preference.
    """
    by_key = {answer.key: answer for answer in answers}
    questions = list(dict.fromkeys((answer.data_set, answer.index) for answer in answers))
    step = max(1, len(questions) // _QUESTIONS)
    for preference in dict.fromkeys(answer.preference for answer in answers):
        for data_set, index in questions[step // 2 :: step][:_QUESTIONS]:
            keys = [(data_set, index, preference, method) for method in methods]
            found = [by_key[key] for key in keys if key in by_key]
            if found:
                yield found


def _score_line(answer: Answer) -> str:
    """Returns the main scores of an answer in a line."""
    parts = []
    for score in (score for score in _SHOWN_SCORES if score in answer.scores):
        value, note = answer.scores[score], note_of(score)
        text = format_number(value, min(2, note.digits))
        parts.append(f"{value:.0f} words" if score == WORDS else f"{note.label.lower()} {text}")
    return " · ".join(parts)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
