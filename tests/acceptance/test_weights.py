"""A preference of more weight shows more, on average over the paper's questions."""

from __future__ import annotations

import sys

import pytest

from amulet_integrations.engine import LocalEngine
from tests.support.golden import needs_questions, paper_questions
from tests.support.ratios import mean_ratios

pytestmark = [pytest.mark.model, pytest.mark.acceptance, needs_questions]

WEIGHTS = [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_every_step_up_in_weight_raises_the_likelihood_ratio(
    embedded_engine: LocalEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [question for question in paper_questions() if len(question) < 200][:24]
    parts = [questions[start : start + 12] for start in range(0, len(questions), 12)]
    by_part = [mean_ratios(embedded_engine, part, WEIGHTS) for part in parts]
    means = [sum(column) / len(parts) for column in zip(*by_part, strict=True)]
    with capsys.disabled():
        told = ", ".join(f"{w:g}: {m:+.3f}" for w, m in zip(WEIGHTS, means, strict=True))
        sys.stdout.write(f"\nlog-likelihood ratio a token, {len(questions)} questions: {told}\n")
    assert means == sorted(means)
