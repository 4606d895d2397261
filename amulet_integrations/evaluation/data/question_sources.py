"""Where questions come from: files of JSON, JSON lines or CSV, and the paper's data sets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from amulet_integrations.errors import EvaluationError, MissingDependencyError
from amulet_integrations.files import read_utf8
from amulet_integrations.terminal_text import one_line

Row = Mapping[str, Any] | str
"""An object that has a question in one of its fields, or a question itself."""


class HubDataSet(NamedTuple):
    """A data set on the Hugging Face hub.

    Attributes:
        id: Its name on the hub.
        config: Its configuration, or None.
        split: The split that contains the questions.
        field: The field that contains a question.
        where: A field and the value that it must have; other rows are left out. None takes all.
    """

    id: str
    config: str | None
    split: str
    field: str
    where: tuple[str, str] | None = None


HUB_DATA_SETS = {
    "truthful_qa": HubDataSet("truthfulqa/truthful_qa", "generation", "validation", "question"),
    "personal_preference_eval": HubDataSet(
        "kkuusou/personal_preference_eval", None, "train", "question"
    ),
    # The paper takes UltraChat's questions from UltraFeedback.
    "ultrachat": HubDataSet(
        "openbmb/UltraFeedback", None, "train", "instruction", ("source", "ultrachat")
    ),
    "helpsteer": HubDataSet("nvidia/HelpSteer", None, "train", "prompt"),
}
"""The paper's data sets by their names."""


def load_hub_data_set(name: str) -> list[Row]:
    """Loads the questions of one of the paper's data sets.

    Args:
        name: A name in `HUB_DATA_SETS`.

    Returns:
        Each question once, with the number of its row as its index.

    Raises:
        MissingDependencyError: `datasets` is not installed.
        EvaluationError: The hub cannot be reached, or has no such data set.
    """
    try:
        from datasets import load_dataset  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError.for_extra("datasets", "evaluation") from error
    source = HUB_DATA_SETS[name]
    questions: dict[str, Row] = {}
    try:
        for index, row in enumerate(load_dataset(source.id, source.config, split=source.split)):
            if source.where is None or row[source.where[0]] == source.where[1]:
                text = row[source.field]  # a question may be in several rows, with other answers
                questions.setdefault(text, {"index": index, source.field: text})
    except Exception as error:  # the hub, the network and the disk may fail in any way
        raise EvaluationError(
            f"The data set {name!r} ({source.id} on the hub) cannot be loaded. Try "
            f"again with a network, or give a file. What datasets says: {one_line(error)}"
        ) from error
    return list(questions.values())


def read_rows(path: Path) -> list[Row]:
    """Reads a file of objects or strings.

    Raises:
        EvaluationError: The file cannot be read, or its content does not fit its ending.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise EvaluationError(
            f"{str(path)!r} ends in {path.suffix or 'nothing'}; questions are read from "
            f"{', '.join(_PARSERS)}."
        )
    return parse(path, read_utf8(path, EvaluationError))


def _parse_json(path: Path, text: str) -> list[Row]:
    try:
        rows = _load_json(path, text)
    except EvaluationError as error:
        if getattr(error.__cause__, "msg", "") == "Extra data":  # JSON lines in a file of this name
            return _parse_json_lines(path, text)
        raise
    if not isinstance(rows, list):
        raise EvaluationError(f"{path} holds no list; give a list of objects or of strings.")
    return [_check_row(row, f"{path}, entry {number}") for number, row in enumerate(rows, 1)]


def _parse_json_lines(path: Path, text: str) -> list[Row]:
    return [
        _check_row(_load_json(path, line, number), f"{path}, line {number}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _load_json(path: Path, text: str, line: int = 1) -> Any:
    """Parses a text that begins at this line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise EvaluationError(
            f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg} at column "
            f"{error.colno}). Give a list, or one object a line."
        ) from error
    except (ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{path} holds JSON that is nested too deeply or has too long a number."
        ) from error


def _check_row(row: Any, place: str) -> Row:
    if isinstance(row, str | dict):
        return row
    raise EvaluationError(f"{place}: a {type(row).__name__}; give an object or a string.")


def _parse_csv(path: Path, text: str) -> list[Row]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise EvaluationError(f"{path} is not CSV: {error}.") from error
    for number, row in enumerate(rows, 1):
        # The reader puts cells beyond the header under None, and None into missing cells.
        if None in row or None in row.values():
            raise EvaluationError(
                f"{path}, row {number}: it has not as many cells as the header. Put texts with "
                "commas in quotes."
            )
    return list(rows)


_PARSERS: dict[str, Callable[[Path, str], list[Row]]] = {
    ".json": _parse_json,
    ".jsonl": _parse_json_lines,
    ".ndjson": _parse_json_lines,
    ".csv": _parse_csv,
}
