"""Files of JSON lines that survive being killed: a line is on the disk, or it is not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

from amulet_integrations.errors import EvaluationError

Line = TypeVar("Line", bound=BaseModel)


class Journal(Generic[Line]):
    """Appends records to a file, each at once.

    A last line that was torn when the writer was killed, or the power failed, is cut off.

    Args:
        path: The file; it is made with the first record.
        line_type: What a line holds.
        leave_out: Fields that are not written.

    Attributes:
        lines: What the file held when it was opened.

    Raises:
        EvaluationError: The file cannot be read or written, or holds something else.
    """

    def __init__(self, path: Path, line_type: type[Line], leave_out: Iterable[str] = ()) -> None:
        self._path = path
        self._leave_out = frozenset(leave_out)
        self._file: FileIO | None = None
        self.lines: list[Line] = []
        try:
            if path.exists():
                self.lines, whole = _whole_lines(path, line_type)
                os.truncate(path, whole)
        except OSError as error:
            raise _not_written(path, error) from error

    @staticmethod
    def read(path: Path, line_type: type[Line]) -> list[Line]:
        """What a file holds, which is left as it is; nothing where there is none.

        Raises:
            EvaluationError: The file cannot be read, or holds something else.
        """
        try:
            return _whole_lines(path, line_type)[0]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read: {error.strerror}.") from error

    def add(self, *records: Line) -> None:
        """Writes records; when it returns they are on the disk.

        Raises:
            EvaluationError: They cannot be written.
        """
        texts = [record.model_dump_json(exclude=set(self._leave_out)) for record in records]
        left = memoryview("".join(f"{text}\n" for text in texts).encode())
        try:
            opened = self._file is not None
            self._file = self._file or self._path.open("ab", buffering=0)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
            if not opened:
                keep_names(self._path.parent)
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


def keep_names(folder: Path) -> None:
    """Puts on the disk which files a folder has: what is in them is not enough."""
    if os.name == "nt":  # where a folder cannot be opened, and keeps its names by itself
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _whole_lines(path: Path, line_type: type[Line]) -> tuple[list[Line], int]:
    """The lines of a file, and how many bytes they take."""
    parts = path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn
    lines: list[Line] = []
    whole = 0
    for number, part in enumerate(parts, 1):
        try:
            lines.append(line_type.model_validate_json(part))
        except ValueError as error:
            if number == len(parts) and b"\0" in part:  # a disk that lost power keeps gaps
                break
            raise EvaluationError(
                f"{path}, line {number}: not a line that this program wrote. Put the file right, "
                "or choose another output folder."
            ) from error
        whole += len(part) + 1
    return lines, whole


def _not_written(path: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{path} cannot be written: {error.strerror}. What it holds stays; the same command "
        "goes on from there."
    )
