"""The real LangMem and mem0, in the environment of `make test-imports`, without a network.

They are not collected elsewhere. mem0 embeds by bytes, and no model is asked.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = tempfile.mkdtemp(prefix="mem0-")

MISSING = [name for name in ("langmem", "mem0") if find_spec(name) is None]
if MISSING:
    assert "AMULET_TEST_IMPORTS" not in os.environ, MISSING  # so `make test-imports` skips nothing
    collect_ignore_glob = ["test_*.py"]

DIMENSIONS = 8


class BytesEmbedder:
    """Embeds a text as the first bytes of its digest."""

    config = SimpleNamespace(embedding_dims=DIMENSIONS)

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return [float(byte) for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Any]:
    """A mem0 `Memory` on a Qdrant in a folder; what it is told is stored as it is."""
    from mem0 import Memory

    made = Memory.from_config(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {
                    "path": str(tmp_path / "qdrant"),
                    "embedding_model_dims": DIMENSIONS,
                    "collection_name": "memories",
                },
            },
            "history_db_path": str(tmp_path / "history.db"),
            "llm": {"provider": "openai", "config": {"api_key": "none"}},
            "embedder": {"provider": "openai", "config": {"api_key": "none"}},
        }
    )
    made.embedding_model = BytesEmbedder()
    yield made
    made.vector_store.client.close()
    made.close()
