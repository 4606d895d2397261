"""The output folder of a run: settings, answers.jsonl, scores, outcomes; one process only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import Answer, Outcome, ScoreLine
from amulet_integrations.files import may_write_into, nearest_existing, replace_file

from .journal import Journal, sync_folder
from .run_settings import Settings, differences

SETTINGS = "settings.json"
ANSWERS = "answers.jsonl"
SCORES = "scores.jsonl"
OUTCOMES = "outcomes.jsonl"
_LOCK = ".lock"
_UNFINISHED = ".settings.json.new"
_SHOWN = 3  # differences in an error message


class OutputFolder(NamedTuple):
    """The open journals of a run.

    Attributes:
        answers: Every answer, without its scores.
        scores: The scores of the answers.
        outcomes: The verdicts of judges.
    """

    answers: Journal[Answer]
    scores: Journal[ScoreLine]
    outcomes: Journal[Outcome]


@contextmanager
def open_folder(path: Path | None, settings: Settings) -> Iterator[OutputFolder]:
    """Opens the folder of a run, which resumes an earlier run of the same settings.

    Args:
        path: The folder. It is created if there is none. None stores nothing.
        settings: The settings of the run.

    Raises:
        EvaluationError: The folder contains a run of other settings or other files, another
            process writes to it, or it cannot be written. Nothing is overwritten.
    """
    with ExitStack() as stack:
        try:
            if path is not None:
                _has_run(path, settings)  # before the lock, so that a refused folder is unchanged
                path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(path / _LOCK, timeout=0, thread_local=False))
                _claim(path, settings)
        except Timeout as error:
            raise EvaluationError(
                f"Another run writes the output folder {path}. Wait for it, or choose another."
            ) from error
        except OSError as error:
            raise EvaluationError(
                f"The output folder {path} cannot be written: {error.strerror}. Choose another."
            ) from error
        answers, scores, outcomes = (path and path / name for name in (ANSWERS, SCORES, OUTCOMES))
        yield OutputFolder(
            stack.enter_context(Journal(answers, Answer)),
            stack.enter_context(Journal(scores, ScoreLine)),
            stack.enter_context(Journal(outcomes, Outcome)),
        )


def check_folder(path: Path) -> None:
    """Checks that a run may write to a folder. Nothing is created or changed.

    Raises:
        EvaluationError: The path is a file, the folder contains files and no settings of an
            evaluation, or it cannot be written.
    """
    parent = nearest_existing(path)
    if not may_write_into(parent):
        what = "is not yours to write to" if parent.is_dir() else "is a file"
        raise EvaluationError(
            f"The output folder {path} cannot be written: {parent} {what}. Choose another."
        )
    if not path.exists() or (path / SETTINGS).exists():
        return
    if others := sorted({file.name for file in path.iterdir()} - {_LOCK, _UNFINISHED}):
        raise EvaluationError(
            f"The output folder {path} holds {others[0]!r} and no {SETTINGS}, so it is not an "
            "evaluation's. Choose an empty or a new folder; nothing was changed."
        )


def read_settings(path: Path) -> dict[str, Any]:
    """Reads the settings of a folder as JSON.

    Raises:
        EvaluationError: The folder has none, or they cannot be read.
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


def _claim(path: Path, settings: Settings) -> None:
    """Writes the settings into the folder, unless it has them."""
    if _has_run(path, settings):
        return
    # The file appears complete or not at all, also if the process is killed here.
    text = f"{settings.model_dump_json(indent=2)}\n"
    replace_file(path / SETTINGS, text.encode(), durable=True)
    sync_folder(path)


def _has_run(path: Path, settings: Settings) -> bool:
    """Whether the folder contains a run of these settings. A run of other settings is refused."""
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
