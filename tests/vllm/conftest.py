"""Tests that run vLLM, in the environment of `make test-vllm`; they are not collected elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from amulet_integrations.engine import VLLMEngine
    from tests.contract.subjects import Subject

if find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def tiny() -> Subject:
    """A tiny model, and the obvious way to its tokens."""
    from tests.contract.subjects import vllm_subject

    return vllm_subject()


@pytest.fixture(scope="module")  # there is one vLLM in a process at a time
def tiny_vllm(tiny: Subject) -> Iterator[VLLMEngine]:
    """An engine of that model with little room in a step."""
    with tiny.engine(max_prefill_tokens=48, max_rows=40, max_cache_tokens=6400) as engine:
        yield engine
