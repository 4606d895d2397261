"""The rows of a file: JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amulet_integrations.errors import EvaluationError

Row = Mapping[str, Any] | str


def read_rows(path: Path) -> list[Row]:
    """Reads a file of objects or strings.

    Raises:
        EvaluationError: It cannot be read, or is not what its ending says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise EvaluationError(
            f"{str(path)!r} ends in {path.suffix or 'nothing'}; questions are read from "
            f"{', '.join(_READERS)}."
        )
    try:
        return reader(path, path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(
            f"{path} is not in UTF-8 (at byte {error.start}); save it as UTF-8."
        ) from error


def _json(path: Path, text: str) -> list[Row]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under a common ending
            return _json_lines(path, text)
        raise EvaluationError(
            f"{path}, line {error.lineno}: not JSON ({error.msg} at column {error.colno})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(rows, list):
        raise EvaluationError(f"{path} holds no list; give a list of objects or of strings.")
    return [_row(row, f"{path}, entry {number}") for number, row in enumerate(rows, 1)]


def _json_lines(path: Path, text: str) -> list[Row]:
    return [
        _row(_line(path, number, line), f"{path}, line {number}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise EvaluationError(
            f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}); give one "
            "object a line."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path) from error


def _csv(path: Path, text: str) -> list[Row]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise EvaluationError(f"{path} is not CSV: {error}.") from error
    for number, row in enumerate(rows, 1):
        # Cells past the header stand under None; missing ones hold None.
        if None in row or None in row.values():
            raise EvaluationError(
                f"{path}, row {number}: it has not as many cells as the header. Put texts with "
                "commas in quotes."
            )
    return list(rows)


def _row(row: Any, here: str) -> Row:
    if isinstance(row, str | dict):
        return row
    raise EvaluationError(f"{here}: a {type(row).__name__}; give an object or a string.")


def _unreadable(path: Path) -> EvaluationError:
    return EvaluationError(f"{path} holds JSON that is nested too deeply or has too long a number.")


_READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
}
