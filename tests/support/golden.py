"""What the published code computes, and the paper's questions, where they are at hand."""

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


needs_questions = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the paper's questions are not beside this checkout"
)


def paper_questions() -> list[str]:
    """The paper's questions, one of each of its data sets in turn; empty where there are none."""
    sets = [json.loads(file.read_text()) for file in sorted(SHARED.glob("data/*.json"))]
    return [item["question"].strip() for row in zip(*sets, strict=False) for item in row]
