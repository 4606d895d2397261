"""Finds out whether a model can be run, once for each kind of model.

The trial's result is remembered for the process, and in the cache folder for checkpoints.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from transformers import PreTrainedModel

from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.files import replace_file

from .architecture_kind import architecture_kind, has_known_code
from .architecture_trial import Architecture, try_architecture
from .loading.embedded import cache_folder
from .masks import Batching
from .model_info import check_attention_only

_FOLDER = "architectures"
_MOST_REMEMBERED = 256  # models; those of former versions are dropped in time

_known: dict[tuple[type, str], Architecture] = {}


def check_architecture(model: PreTrainedModel, *, remember: bool = False) -> Architecture:
    """Tries a model out, unless one of the same kind was tried before.

    Models are of one kind as `architecture_kind` says. Weights may differ. The trial runs on the
    worker thread.

    Args:
        model: A model in eval mode and on its device.
        remember: Whether the result is kept in the cache folder for other processes.

    Raises:
        UnsupportedModelError: The model keeps a recurrent state, or cannot be run for another
            reason. This is not remembered.
        Exception: Memory ran out; as torch raises it.
    """
    check_attention_only(model)
    kind = architecture_kind(model)
    remember = remember and has_known_code(model)
    known = _known.get((type(model), kind))
    if known is None and remember:
        known = _read(kind)
    if known is None:
        found = run_on_worker(try_architecture, model)
        if not found.is_certain:
            return found.architecture
        known = found.architecture
        if remember:
            _write(kind, known)
    _known[type(model), kind] = known
    return known


def _file(kind: str) -> Path:
    return cache_folder() / _FOLDER / f"{kind}.json"


def _read(kind: str) -> Architecture | None:
    try:
        found = json.loads(_file(kind).read_text(encoding="ascii"))
        batching, size = Batching(found["batching"]), int(found["bytes_per_token"])
    except (OSError, ValueError, KeyError, TypeError):  # missing, or written by something else
        return None
    return Architecture(batching, size) if size > 0 else None


def _write(kind: str, architecture: Architecture) -> None:
    """Writes the result at once or not at all; without it, the next process tries again."""
    file = _file(kind)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(architecture._asdict()).encode())
        by_age = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in by_age[:-_MOST_REMEMBERED]:
            old.unlink(missing_ok=True)
