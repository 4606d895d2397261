"""The report as one page that needs nothing else: no network, no script, no file beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.reporting.about import about, left_out
from amulet_integrations.evaluation.reporting.comparison_tables import comparison_text, win_text
from amulet_integrations.evaluation.reporting.contents import Contents
from amulet_integrations.evaluation.reporting.frontier_tables import (
    frontier_text,
    recommendation,
    strength_text,
)
from amulet_integrations.evaluation.reporting.outcome_tables import outcome_text
from amulet_integrations.evaluation.reporting.samples import (
    choose_methods,
    choose_samples,
    facts,
)
from amulet_integrations.evaluation.reporting.score_plots import score_plot_name
from amulet_integrations.evaluation.reporting.tables import score_text
from amulet_integrations.terminal_text import safe

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Picture:
    """A plot, for a page that is light and one that is dark.

    Attributes:
        name: The file's name, without the ending.
        title: What it shows, for those who do not see it.
        light: A PNG.
        dark: The same in the dark page's colours.
    """

    name: str
    title: str
    light: bytes
    dark: bytes


def render_page(contents: Contents, pictures: Mapping[str, Picture]) -> str:
    """Writes the page.

    Args:
        contents: What the report holds.
        pictures: The plots by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["facts"] = facts
    frontiers = contents.frontiers
    evaluation = contents.evaluation
    answers = evaluation.answers
    recommended = frontiers[0].recommended if frontiers else None
    shown, not_shown = choose_methods(
        contents.compared_methods, None if recommended is None else recommended.method
    )
    page = environment.get_template(_TEMPLATE).render(
        model=evaluation.settings.model,
        about=about(evaluation),
        too_long=left_out(evaluation),
        left_out=", ".join(contents.left_out),
        numbers={
            "answers": len(answers),
            "questions": len({(answer.data_set, answer.index) for answer in answers}),
            "data sets": len({answer.data_set for answer in answers}),
            "preferences": len({answer.preference for answer in answers}),
            "methods": len({answer.method for answer in answers}),
        },
        recommendation=recommendation(frontiers[0]) if frontiers else None,
        main=[(score_plot_name(table.score), score_text(table)) for table in contents.main_tables],
        others=[score_text(table) for table in contents.other_tables],
        outcome=outcome_text(contents.compared),
        comparison=comparison_text(contents.comparisons),
        frontiers=[frontier_text(each) for each in frontiers],
        strengths=strength_text(frontiers, contents.whole_tables),
        wins=[
            table
            for table in (win_text(contents.counts), win_text(contents.counts_by_preference))
            if table is not None
        ],
        samples=choose_samples(contents.compared, shown),
        not_shown=", ".join(not_shown),
        notes=[note_of(table.score) for table in contents.tables],
        pictures=pictures,
        settings=list(flat_settings(evaluation.settings.model_dump(mode="json"))),
    )
    return safe(page)


def flat_settings(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings a line each, nested ones with dots in their names."""
    for name, value in settings.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{full}.")
        elif isinstance(value, list | tuple):
            yield from _flat_items(full, value)
        else:
            yield full, value if isinstance(value, str) else json.dumps(value, default=str)


def _flat_items(name: str, items: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    for place, item in enumerate(items):
        called = item.get("name", place) if isinstance(item, Mapping) else None
        if called is None:
            yield name, ", ".join(str(item) for item in items)
            return
        rest = {key: value for key, value in item.items() if key != "name"}
        shown = ", ".join(f"{key} {value}" for key, value in flat_settings(rest))
        yield f"{name}.{called}", shown


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
