"""Reads the questions of an evaluation, and draws samples of them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Iterable, Sequence
from os.path import isfile
from pathlib import Path
from typing import Any

from amulet_integrations.errors import EvaluationError

from .question_sources import HUB_DATA_SETS, Row, load_hub_data_set, read_rows
from .record_types import Question, find_duplicate, shorten

QUESTION_FIELDS = ("question", "prompt", "instruction")
"""Where a question is looked for, in this order, if no field is named."""

_NUMBER = re.compile(r"\s*[0-9]+\s*")
_SHOWN = 300  # characters of a path in an error; a question given by mistake may be much longer

Source = str | os.PathLike[str] | Question
"""A file of questions, the name of one of the paper's data sets, or a question."""


def read_questions(
    sources: Source | Iterable[Source],
    *,
    field: str | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> tuple[Question, ...]:
    """Reads questions, and draws some of each data set.

    Args:
        sources: Files (.json, .jsonl, .csv), names of the paper's data sets ("truthful_qa",
            "personal_preference_eval", "ultrachat", "helpsteer"; they come from the Hugging Face
            hub and need the extra `evaluation`), or questions. The name of a file, without its
            ending, is the name of its data set.
        field: The field that contains the question. By default it is the first of question,
            prompt and instruction that an object has. A field `index`, if there is one, numbers
            the questions.
        sample: How many questions to draw from each data set; None takes all.
        seed: The same seed and size give the same sample.

    Returns:
        The questions. Data sets are in the order given, questions in the order of their file.

    Raises:
        EvaluationError: A file cannot be read or has no questions, a row has no question, two
            questions have one index, or two data sets have one name.
        MissingDependencyError: A data set is on the hub, and `datasets` is not installed.
    """
    if isinstance(sources, str | os.PathLike | Question):
        sources = [sources]
    if sample is not None and sample < 1:
        raise EvaluationError(f"sample={sample}: a sample has at least one question of a data set.")
    # A data set is all single questions of that name, or the questions of one source.
    data_sets: dict[tuple[str, int | None], list[Question]] = {}
    for number, source in enumerate(sources):
        if isinstance(source, Question):
            data_sets.setdefault((source.data_set, None), []).append(source)
        else:
            questions = _read_source(source, field)
            data_sets[questions[0].data_set, number] = questions
    if not data_sets:
        raise EvaluationError("There is no question. Give a file of questions or a data set.")
    same = find_duplicate(name for name, _ in data_sets)
    if same is not None:
        raise EvaluationError(
            f"Two data sets are called {same!r}. Rename one of the files, or give it once."
        )
    for (name, _), questions in data_sets.items():
        duplicate = find_duplicate(question.index for question in questions)
        if duplicate is not None:
            raise EvaluationError(
                f"Two questions of {name!r} have the index {duplicate}. Give each its own, or none "
                "to all of them."
            )
    return tuple(q for questions in data_sets.values() for q in _draw(questions, sample, seed))


def questions_digest(questions: Iterable[Question]) -> str:
    """Returns a SHA-256 that is the same for the same questions."""
    facts = [[question.data_set, question.index, question.text] for question in questions]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def is_on_hub(source: str | os.PathLike[str]) -> bool:
    """Whether a source names one of the paper's data sets. A file of that name comes first."""
    return str(source) in HUB_DATA_SETS and not isfile(source)  # noqa: PTH113


def _read_source(source: str | os.PathLike[str], field: str | None) -> list[Question]:
    if is_on_hub(source):
        name = str(source)
        hub = HUB_DATA_SETS[name]
        return _make_questions(load_hub_data_set(name), name, (hub.field,), place=hub.id)
    if not isfile(source):  # noqa: PTH113 - `Path.is_file` fails at a long text
        raise EvaluationError(
            f"There is no file {shorten(str(source), _SHOWN)!r}. Give a file of questions (.json, "
            f".jsonl, .csv), or one of {', '.join(HUB_DATA_SETS)}."
        )
    path = Path(source)
    fields = QUESTION_FIELDS if field is None else (field,)
    return _make_questions(read_rows(path), path.stem, fields, place=str(path))


def _make_questions(
    rows: Sequence[Row], data_set: str, fields: Sequence[str], *, place: str
) -> list[Question]:
    if not rows:
        raise EvaluationError(f"{place} has no questions; give it at least one.")
    questions = []
    for position, row in enumerate(rows):
        here = f"{place}, question {position + 1}"
        text = row if isinstance(row, str) else _find_text(row, fields, here)
        index = position if isinstance(row, str) else row.get("index", position)
        if isinstance(index, str) and _NUMBER.fullmatch(index):  # as every cell of a CSV file is
            index = int(index)
        try:
            questions.append(Question(data_set=data_set, index=index, text=text))
        except EvaluationError as error:
            raise EvaluationError(f"{here}: {error}") from error
    return questions


def _find_text(row: Any, fields: Sequence[str], here: str) -> Any:
    for name in fields:
        if name in row:
            return row[name]
    found = ", ".join(map(str, row)) or "none"
    raise EvaluationError(
        f"{here}: no field {' or '.join(fields)}. It has: {found}. Name the one that holds the "
        "question (--data-field, field=)."
    )


def _draw(questions: Sequence[Question], sample: int | None, seed: int) -> Sequence[Question]:
    if sample is None or sample >= len(questions):
        return questions
    # The name is part of the seed, so that other data sets do not change a data set's sample.
    generator = random.Random(f"{seed} {questions[0].data_set}")  # noqa: S311 - nothing secret
    return [questions[at] for at in sorted(generator.sample(range(len(questions)), sample))]
