"""What the published code computes, and the paper's questions, where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights, linear_alignment_weights
from amulet_integrations.engine import GenerationRequest

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


SEQUENCES = golden("sequences.json")
ALIGNED = [sequence for sequence in SEQUENCES if "linear_alignment_ratio2" in sequence]


def _request(sequence, weights) -> GenerationRequest:
    return GenerationRequest(
        contexts=[sequence["base_ids"], sequence["pref_ids"]],
        weights=weights,
        sampling=SamplingParams(max_new_tokens=20),
    )


def params_of(sequence: dict[str, Any]) -> AmuletParams:
    """The parameters of a golden sequence."""
    return AmuletParams(
        alpha=sequence["alpha"],
        lambda_=sequence["lam"],
        eta=sequence["eta"],
        iterations=sequence["iterations"],
    )


def amulet(sequence: dict[str, Any]) -> GenerationRequest:
    """The request that writes a sequence with Amulet."""
    return _request(sequence, amulet_weights(params_of(sequence)))


def linear_alignment(sequence: dict[str, Any]) -> GenerationRequest:
    """The request that writes a sequence with linear alignment."""
    return _request(sequence, linear_alignment_weights(2.0))
