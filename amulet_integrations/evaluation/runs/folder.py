"""The folder of a run: its settings, its answers, its scores, and nobody else beside it."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from filelock import BaseFileLock, FileLock, Timeout

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.runs.journal import Journal, keep_names
from amulet_integrations.evaluation.runs.records import Answer, Outcome, ScoreLine
from amulet_integrations.evaluation.runs.settings import Settings, differences

SETTINGS = "settings.json"
ANSWERS = "answers.jsonl"
SCORES = "scores.jsonl"
OUTCOMES = "outcomes.jsonl"
_LOCK = ".lock"
_UNFINISHED = ".settings.json.new"
_SHOWN = 3  # differences that an error tells


class OutputFolder:
    """Opens a folder for one run, and goes on where an earlier one of the same settings stopped.

    Args:
        path: The folder; it is made where there is none.
        settings: The run's.

    Attributes:
        path: The folder.
        answers: Every answer, as the model gave it.
        scores: What scorers said of them.
        outcomes: What judges said of pairs of them.

    Raises:
        EvaluationError: The folder holds a run of other settings or other files, another process
            writes it, or it cannot be written. Nothing is overwritten.
    """

    answers: Journal[Answer]
    scores: Journal[ScoreLine]
    outcomes: Journal[Outcome]

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._stack = ExitStack()
        with ExitStack() as stack:
            try:
                _is_of(path, settings)  # a folder that is refused gets not even a lock
                path.mkdir(parents=True, exist_ok=True)
                stack.callback(_lock(path).release)
                _claim(path, settings)
            except OSError as error:
                raise EvaluationError(
                    f"The output folder {path} cannot be written: {error.strerror}. Choose another."
                ) from error
            self.answers = stack.enter_context(Journal(path / ANSWERS, Answer, ["scores"]))
            self.scores = stack.enter_context(Journal(path / SCORES, ScoreLine))
            self.outcomes = stack.enter_context(Journal(path / OUTCOMES, Outcome))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()


def check_folder(path: Path) -> None:
    """Refuses a folder that no run may write to; nothing is made or changed.

    Raises:
        EvaluationError: There is something else at the path, or the folder holds files and no
            evaluation's settings, or it cannot be written.
    """
    there = next(
        parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists()
    )
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "is not yours to write to" if there.is_dir() else "is a file"
        raise EvaluationError(
            f"The output folder {path} cannot be written: {there} {what}. Choose another."
        )
    if not path.exists() or (path / SETTINGS).exists():
        return
    if others := sorted({file.name for file in path.iterdir()} - {_LOCK, _UNFINISHED}):
        raise EvaluationError(
            f"The output folder {path} holds {others[0]!r} and no {SETTINGS}, so it is not an "
            "evaluation's. Choose an empty or a new folder; nothing was changed."
        )


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a folder, as JSON.

    Raises:
        EvaluationError: It has none, or they cannot be read.
    """
    file = path / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise EvaluationError(f"{file} is not JSON. Choose another output folder.") from error
    if not isinstance(settings, dict):
        raise EvaluationError(f"{file} holds no settings. Choose another output folder.")
    return settings


def _lock(path: Path) -> BaseFileLock:
    lock = FileLock(path / _LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise EvaluationError(
            f"Another run writes the output folder {path}. Wait for it, or choose another."
        ) from error
    return lock


def _claim(path: Path, settings: Settings) -> None:
    """Makes the folder this run's, or finds that it is."""
    if _is_of(path, settings):
        return
    # Whole or not there: a run that is killed here must not leave half of it.
    unfinished = path / _UNFINISHED
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(settings.model_dump(mode="json"), file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path / SETTINGS)
    keep_names(path)


def _is_of(path: Path, settings: Settings) -> bool:
    """Whether the folder holds this run already; anything but that and nothing is refused."""
    check_folder(path)
    if not (path / SETTINGS).exists():
        return False
    found = list(differences(read_settings(path), settings.model_dump(mode="json")))
    if found:
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        raise EvaluationError(
            f"The output folder {path} holds a run of other settings: "
            f"{'; '.join(found[:_SHOWN])}{more}. Choose another folder; nothing was changed."
        )
    return True
