"""Questions: from files of any usual form, or the paper's data sets by name; and samples."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amulet_integrations.errors import EvaluationError, PromptError
from amulet_integrations.evaluation.data.hub import HUB_DATA_SETS, load_hub_data_set
from amulet_integrations.evaluation.data.rows import read_rows
from amulet_integrations.evaluation.runs.names import repeated, shortened
from amulet_integrations.evaluation.runs.records import Question
from amulet_integrations.prompting.messages import check_encodable

QUESTION_FIELDS = ("question", "prompt", "instruction")
"""Where a question is looked for, in this order, when no field is named."""

_SHOWN = 300  # characters of a path that an error tells; a question given as a path has more

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
            hub and need the extra `evaluation`), or questions. A file's data set is called by its
            name without the ending.
        field: The field that holds the question; by default the first of question, prompt and
            instruction that there is. A field `index` numbers the questions, if there is one.
        sample: How many questions of each data set; None takes all.
        seed: Two samples of the same size and seed are the same.

    Returns:
        The questions, data sets in the order given and questions in that of their file.

    Raises:
        EvaluationError: A file cannot be read, has no question field or no question, gives two
            questions one index, or two data sets have one name.
        MissingDependencyError: A data set is on the hub, and `datasets` is not installed.
    """
    if isinstance(sources, str | os.PathLike | Question):
        sources = [sources]
    if sample is not None and sample < 1:
        raise EvaluationError(f"sample={sample}: a sample has at least one question of a data set.")
    sets: dict[str, list[Question]] = {}
    whole: set[str] = set()
    for source in sources:
        alone = isinstance(source, Question)
        questions = [source] if isinstance(source, Question) else _of_source(source, field)
        name = questions[0].data_set
        if name in whole or (name in sets and not alone):
            raise EvaluationError(
                f"Two data sets are called {name!r}. Rename one of the files, or give it once."
            )
        sets.setdefault(name, []).extend(questions)
        whole |= set() if alone else {name}
    if not sets:
        raise EvaluationError("There is no question. Give a file of questions or a data set.")
    for name, questions in sets.items():
        _check_indices(name, questions)
    return tuple(q for questions in sets.values() for q in _drawn(questions, sample, seed))


def digest(questions: Iterable[Question]) -> str:
    """Tells whether two runs ask the same questions."""
    facts = [[question.data_set, question.index, question.text] for question in questions]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _of_source(source: str | os.PathLike[str], field: str | None) -> list[Question]:
    path = Path(source)
    if is_on_hub(source):
        hub = HUB_DATA_SETS[str(source)]
        return questions_of(load_hub_data_set(hub), hub.name, hub.field, place=hub.id)
    if not _is_file(path):
        raise EvaluationError(
            f"There is no file {shortened(str(path), _SHOWN)!r}. Give a file of questions (.json, "
            f".jsonl, .csv), or one of {', '.join(HUB_DATA_SETS)}."
        )
    return questions_of(read_rows(path), path.stem, field, place=str(path))


def is_on_hub(source: str | os.PathLike[str]) -> bool:
    """Whether a source names one of the paper's data sets; a file of that name comes first."""
    return str(source) in HUB_DATA_SETS and not _is_file(Path(source))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no name of a file, but a question perhaps
        return False


def questions_of(
    rows: Sequence[Mapping[str, Any] | str], data_set: str, field: str | None, *, place: str
) -> list[Question]:
    """Makes questions of rows.

    Args:
        rows: Objects with a question in them, or the questions themselves.
        data_set: The data set's name.
        field: The field that holds the question; None finds it.
        place: Where the rows are from, for messages.

    Raises:
        EvaluationError: See `read_questions`.
    """
    if not rows:
        raise EvaluationError(f"{place} has no questions; give it at least one.")
    questions: list[Question] = []
    for position, row in enumerate(rows):
        here = f"{place}, question {position + 1}"
        if isinstance(row, str):
            index, text = position, row
        else:
            index, text = _index(row, position, here), _text(row, field, here)
        _check_text(text, here)
        questions.append(Question(data_set=data_set, index=index, text=text))
    return questions


def _text(row: Mapping[str, Any], field: str | None, here: str) -> Any:
    fields = QUESTION_FIELDS if field is None else (field,)
    for name in fields:
        if name in row:
            return row[name]
    found = ", ".join(map(str, row)) or "none"
    raise EvaluationError(
        f"{here}: no field {' or '.join(fields)}. It has: {found}. Name the one that holds the "
        "question (--data-field, field=)."
    )


def _index(row: Mapping[str, Any], position: int, here: str) -> int:
    index = row.get("index", position)
    if isinstance(index, str):
        index = index.strip()
        index = int(index) if index.isascii() and index.isdigit() else index
    if not isinstance(index, int) or isinstance(index, bool):
        raise EvaluationError(f"{here}: index={index!r}; an index is a whole number.")
    return index


def _check_text(text: Any, here: str) -> None:
    if not isinstance(text, str) or not text.strip():
        what = "blank" if isinstance(text, str) else f"a {type(text).__name__}"
        raise EvaluationError(f"{here}: the question is {what}; it has to be a text.")
    try:
        check_encodable(text, "question")
    except PromptError as error:
        raise EvaluationError(f"{here}: {error}") from error


def _check_indices(name: str, questions: Sequence[Question]) -> None:
    twice = repeated(question.index for question in questions)
    if twice is not None:
        raise EvaluationError(
            f"Two questions of {name!r} have the index {twice}. Give each its own, or none to all "
            "of them."
        )


def _drawn(questions: Sequence[Question], sample: int | None, seed: int) -> Sequence[Question]:
    if sample is None or sample >= len(questions):
        return questions
    # By name, so that a data set's sample does not depend on which others are given.
    draw = random.Random(f"{seed} {questions[0].data_set}")  # noqa: S311 - nothing secret
    return [questions[place] for place in sorted(draw.sample(range(len(questions)), sample))]
