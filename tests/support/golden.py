"""What the published code computes, where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared"

needs_golden = pytest.mark.skipif(
    not (SHARED / "golden").is_dir(), reason="golden data is not beside this checkout"
)


def golden(name: str) -> list[dict[str, Any]]:
    """Reads a golden file; empty where there is none, so that collection never fails."""
    file = SHARED / "golden" / name
    return json.loads(file.read_text()) if file.is_file() else []
