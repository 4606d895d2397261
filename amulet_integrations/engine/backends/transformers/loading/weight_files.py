"""Which files of weights a folder has. Only safetensors are read: a pickle can run code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from amulet_integrations.errors import UnsupportedModelError
from amulet_integrations.files import with_home

_SAFE = "model.safetensors"
_PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"
_SAFE_ENDINGS = (".safetensors", f".safetensors{_INDEX}")


def check_no_pickles(what: str, name: str) -> None:
    """Refuses a folder whose weights would be read from a pickle.

    Args:
        what: The model, for the message, such as "The reward model 'x'".
        name: A folder; any other name passes.

    Raises:
        UnsupportedModelError: The message says how to convert them.
    """
    folder = with_home(name)
    is_there = os.path.isdir(folder)  # noqa: PTH112 - takes names that no file can have
    if is_there and (found := _find_pickle(folder)) is not None:
        raise pickle_error(what, found)


def pickle_error(what: str, file: str) -> UnsupportedModelError:
    """The error for a model whose weights are in `file`, a pickle."""
    return UnsupportedModelError(
        f"{what} has its weights in {file!r}. That is a pickle, which can run code when it is "
        "read, so only safetensors are. If you trust it, convert it once with transformers: "
        "AutoModelForCausalLM.from_pretrained(old).save_pretrained(new), and the same with "
        "AutoTokenizer (for an encoder or a reward model, with its own Auto class). Then give the "
        "new folder."
    )


def problem_of_weights(folder: Path) -> str | None:
    """What weights a folder lacks, such as "weights (model.safetensors, …)"; None if none."""
    names = {file.name for file in folder.iterdir()}
    if _SAFE in names:
        return None
    if f"{_SAFE}{_INDEX}" in names:
        lost = sorted(_shards(folder) - names)
        return (
            (f"{lost[0]} and {len(lost) - 1} more parts" if lost[1:] else lost[0]) if lost else None
        )
    more = ", beside its GGUF files" if any(name.endswith(".gguf") for name in names) else ""
    return f"weights (model.safetensors, or its parts with model.safetensors.index.json){more}"


def _find_pickle(folder: Path) -> str | None:
    """The name of a pickle that would be read for a folder's weights; None if there is none.

    A safe name can lead to one: the index of parts and the config name files, too.
    """
    named = _read(folder / "config.json").get("transformers_weights")
    if isinstance(named, str):
        return None if named.endswith(_SAFE_ENDINGS) else named
    if (folder / _SAFE).is_file():
        return None
    if (folder / f"{_SAFE}{_INDEX}").is_file():
        parts = sorted(_shards(folder))
        return next((part for part in parts if not part.endswith(_SAFE_ENDINGS)), None)
    return next(
        (name for name in (_PICKLE, f"{_PICKLE}{_INDEX}") if (folder / name).is_file()), None
    )


def _shards(folder: Path) -> set[str]:
    weights = _read(folder / f"{_SAFE}{_INDEX}").get("weight_map")
    parts = weights.values() if isinstance(weights, dict) else ()
    return {part for part in parts if isinstance(part, str)}


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a damaged file is for transformers to report
    return content if isinstance(content, dict) else {}
