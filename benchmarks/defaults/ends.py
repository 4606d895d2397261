"""Answers that end early: what the contexts think of the end of the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from benchmarks.defaults.scores import Scored
from benchmarks.defaults.study import RecordedAnswer

SHORT = 5
"""Answers of fewer tokens are called short."""

FIRST = 8
"""Places that are called the first ones."""

_HEAD = (
    "setting",
    f"under {SHORT} tokens",
    "empty",
    "ended",
    f"advantage of the end, first {FIRST} places",
    "later",
    "where it ended",
    f"of the tokens said, first {FIRST} places",
    "later",
)


def ends_table(settings: Mapping[str, Scored]) -> str:
    """How many answers are short, and how far preferences move the end of the text, in Markdown."""
    rows = [
        f"| {' | '.join(_HEAD)} |",
        f"|{' --- |' * len(_HEAD)}",
    ]
    for name in sorted(settings):
        answers = [score.answer for score in settings[name].cells.values()]
        rows.append(f"| {name} | {' | '.join(_row(answers))} |")
    return "\n".join(rows)


def _row(answers: list[RecordedAnswer]) -> Iterable[str]:
    yield f"{sum(len(answer.pref) < SHORT for answer in answers)} of {len(answers)}"
    yield str(sum(not answer.pref for answer in answers))
    yield f"{np.mean([answer.ended for answer in answers]):.0%}"
    ends = [np.subtract(answer.end_pref, answer.end_base) for answer in answers]
    # The last place of an answer that was ended is where the end was likeliest.
    before = [end[:-1] if answer.ended else end for end, answer in zip(ends, answers, strict=True)]
    yield _mean(end[:FIRST] for end in before)
    yield _mean(end[FIRST:] for end in before)
    yield _mean(end[-1:] for end, answer in zip(ends, answers, strict=True) if answer.ended)
    advantages = [np.subtract(answer.pref, answer.base) for answer in answers]
    yield _mean(tokens[:FIRST] for tokens in advantages)
    yield _mean(tokens[FIRST:] for tokens in advantages)


def _mean(parts: Iterable[np.ndarray]) -> str:
    values = np.concatenate([*parts, np.zeros(0)])
    return f"{values.mean():.2f}" if len(values) else "-"
