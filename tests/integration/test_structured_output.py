"""Records of random schemas by the embedded model, steered at full strength."""

from __future__ import annotations

import pytest

from tests.support.schemas import Records, check_whole

pytestmark = pytest.mark.model

MAX_NEW_TOKENS = 96


def test_records_of_random_schemas_are_complete_and_valid(embedded_engine):
    records = Records(embedded_engine, MAX_NEW_TOKENS).of(range(8, 12))
    for schema, result in records:
        check_whole(schema, result, MAX_NEW_TOKENS)
