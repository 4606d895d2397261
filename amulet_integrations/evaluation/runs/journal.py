"""Files of JSON lines, such as answers.jsonl, that survive a killed process.

A line is complete, or it is not there.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

from amulet_integrations.errors import EvaluationError

Line = TypeVar("Line", bound=BaseModel)


class Journal(Generic[Line]):
    """Appends records to a file. Each record is on the disk when `add` returns.

    An incomplete last line, as a killed process or a power failure leaves it, is removed.

    Args:
        path: The file. It is created with the first record. None stores nothing.
        line_type: The type of the records.

    Attributes:
        lines: The records in the file when it was opened.

    Raises:
        EvaluationError: The file cannot be read or written, or contains something else.
    """

    def __init__(self, path: Path | None, line_type: type[Line]) -> None:
        self._path = path
        self._file: FileIO | None = None
        self.lines: list[Line] = []
        if path is None or not path.exists():
            return
        try:
            self.lines, size = _read_lines(path, line_type)
            os.truncate(path, size)
        except OSError as error:
            raise _not_written(path, error) from error

    @staticmethod
    def read(path: Path, line_type: type[Line]) -> list[Line]:
        """Reads the records of a file without changing it. A missing file has none.

        Raises:
            EvaluationError: The file cannot be read, or contains something else.
        """
        try:
            return _read_lines(path, line_type)[0]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read: {error.strerror}.") from error

    def add(self, *records: Line) -> None:
        """Writes records to the disk, without fields that were left at their defaults.

        Raises:
            EvaluationError: They cannot be written.
        """
        if self._path is None:
            return
        texts = [f"{record.model_dump_json(exclude_unset=True)}\n" for record in records]
        left = memoryview("".join(texts).encode())
        try:
            is_new = self._file is None
            self._file = self._file or self._path.open("ab", buffering=0)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
            if is_new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise _not_written(self._path, error) from error

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def sync_folder(folder: Path) -> None:
    """Writes the names of a folder's files to the disk, which `fsync` of the files does not do."""
    if os.name == "nt":  # a folder cannot be opened there, and needs no fsync
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _read_lines(path: Path, line_type: type[Line]) -> tuple[list[Line], int]:
    """Returns the complete lines of a file, and their size in bytes."""
    parts = path.read_bytes().split(b"\n")[:-1]  # whatever follows the last line end is incomplete
    lines: list[Line] = []
    size = 0
    for number, part in enumerate(parts, 1):
        try:
            lines.append(line_type.model_validate_json(part))
        except ValueError as error:
            if number == len(parts) and b"\0" in part:  # a power failure may leave zeros
                break
            raise EvaluationError(
                f"{path}, line {number}: not a line that this program wrote. Put the file right, "
                "or choose another output folder."
            ) from error
        size += len(part) + 1
    return lines, size


def _not_written(path: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{path} cannot be written: {error.strerror}. What it holds stays; the same command "
        "goes on from there."
    )
