"""Finds out whether a model can be run, once for each kind of model.

The trial's result is remembered for the process, and in the cache folder for checkpoints.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from amulet_integrations.engine.worker import run_on_worker

from .activations import activation_dtype
from .architecture_trial import Architecture, try_architecture
from .fingerprint import without_loading
from .loading.embedded import cache_folder
from .masks import Batching

_FOLDER = "architectures"
_MOST_REMEMBERED = 256  # models; those of former versions are dropped in time

_known: dict[tuple[type, str], Architecture] = {}


def check_architecture(model: PreTrainedModel, *, remember: bool = False) -> Architecture:
    """Tries a model out, unless one of the same kind was tried before.

    Models are of one kind if config, code, versions of torch and transformers, dtype, device and
    attention implementation are equal. Weights may differ. The trial runs on the worker thread.

    Args:
        model: A model in eval mode and on its device.
        remember: Whether the result is kept in the cache folder for other processes.

    Raises:
        UnsupportedModelError: The model cannot be run. This is not remembered.
    """
    kind = _kind(model)
    remember = remember and bool(_code(type(model).__module__))
    known = _known.get((type(model), kind))
    if known is None and remember:
        known = _read(kind)
    if known is None:
        known = run_on_worker(try_architecture, model)
        if remember:
            _write(kind, known)
    _known[type(model), kind] = known
    return known


def _kind(model: PreTrainedModel) -> str:
    """Returns a hash of all that the result depends on."""
    device = model.device
    parts = {
        "config": without_loading(model.config.to_dict()),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "code": _code(type(model).__module__),
        "engine": _own_code(),
        "versions": [torch.__version__, transformers.__version__],
        "dtypes": [str(model.dtype), str(activation_dtype(model))],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "attention": model.config._attn_implementation,  # noqa: SLF001
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _code(module: str) -> str:
    """Returns the source of the module that a model's class is defined in, where there is one."""
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return ""


@cache
def _own_code() -> str:
    """Returns a hash of the code that runs models: with other code, other models are right."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


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
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as partial:
            partial.write(json.dumps(architecture._asdict()))
        Path(partial.name).replace(file)
        by_age = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in by_age[:-_MOST_REMEMBERED]:
            old.unlink(missing_ok=True)
