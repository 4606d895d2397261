"""Which models are of one kind, so that the trial of one holds for the others."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel
from transformers.utils.hub import TRANSFORMERS_DYNAMIC_MODULE_NAME

from .activations import activation_dtype
from .fingerprint import without_loading

_PROCESSORS = Path("/proc/cpuinfo")
# Their versions say what they compute. All others may be changed in place.
_VERSIONED = frozenset({"torch", *sys.stdlib_module_names})


def architecture_kind(model: PreTrainedModel) -> str:
    """Returns a hash of all that the result of a trial depends on.

    These are the config, the code of the model and of this engine, the versions of torch and
    transformers, dtypes and precision, all devices, and the attention implementation.
    """
    parts = {
        "config": without_loading(model.config.to_dict()),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "code": [_hash_of(file) for file in _code_files(model)],
        "engine": _own_code(),
        "versions": [torch.__version__, transformers.__version__],
        "dtypes": [str(model.dtype), str(activation_dtype(model))],
        "precision": torch.get_float32_matmul_precision(),
        "devices": sorted(map(_device_name, _devices(model))),
        "attention": model.config._attn_implementation,  # noqa: SLF001
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def has_known_code(model: PreTrainedModel) -> bool:
    """Returns whether all code of a model is in files; that of a notebook is not."""
    return all(map(_file_of, _module_names(model)))


def _module_names(model: PreTrainedModel) -> list[str]:
    """Returns the modules that define the classes of a model and of its layers, and their bases."""
    classes = {base for layer in model.modules() for base in type(layer).__mro__}
    names = {each.__module__ for each in classes}
    return sorted(name for name in names if name.partition(".")[0] not in _VERSIONED)


def _file_of(module: str) -> Path | None:
    name = getattr(sys.modules.get(module), "__file__", None)
    return Path(name) if name and Path(name).is_file() else None


def _code_files(model: PreTrainedModel) -> Iterator[Path]:
    """Yields the files of a model's code; of code from a checkpoint also what lies beside it."""
    for module in _module_names(model):
        file = _file_of(module)
        if file is None:
            continue
        yield file
        if module.partition(".")[0] == TRANSFORMERS_DYNAMIC_MODULE_NAME:
            yield from sorted(file.parent.rglob("*.py"))


def _hash_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _own_code() -> list[str]:
    """Returns hashes of the code that runs models: with other code, other models are right."""
    return [_hash_of(file) for file in sorted(Path(__file__).parent.rglob("*.py"))]


def _devices(model: PreTrainedModel) -> set[torch.device]:
    return {tensor.device for tensor in chain(model.parameters(), model.buffers())}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name() if device.type == "cpu" else device.type


@cache
def processor_name() -> str:
    """Returns the processor's name, and the instructions that torch uses of it."""
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, "") or platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
