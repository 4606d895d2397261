"""A preference of more weight shows more, on the embedded model and the paper's questions."""

from __future__ import annotations

import pytest

from amulet_integrations.engine import LocalEngine
from tests.support.golden import needs_questions, paper_questions
from tests.support.ratios import mean_ratios

pytestmark = [pytest.mark.model, needs_questions]


def test_raising_a_weight_raises_that_preferences_likelihood_ratio(
    embedded_engine: LocalEngine,
) -> None:
    questions = [question for question in paper_questions() if len(question) < 100][:3]
    little, full = mean_ratios(embedded_engine, questions, [0.25, 1.0])
    assert little < full
