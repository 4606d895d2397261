"""Two hundred records of random schemas: every one is complete and valid."""

from __future__ import annotations

import pytest

from tests.support.schemas import Records, check_whole

pytestmark = pytest.mark.acceptance

BATCH = 8
BATCHES = 25
MAX_NEW_TOKENS = 192


# In parts, so that what was done is not done again after a stop.
@pytest.mark.parametrize("part", range(BATCHES))
def test_every_record_is_complete_and_valid(embedded_engine, part, capsys):
    seeds = range(BATCH * part, BATCH * (part + 1))
    records = Records(embedded_engine, MAX_NEW_TOKENS).of(seeds)
    for schema, result in records:
        check_whole(schema, result, MAX_NEW_TOKENS)
    lengths = [len(result.token_ids) for _, result in records]
    with capsys.disabled():
        print(  # noqa: T201 - what was counted
            f"\nRecords {seeds[0]} to {seeds[-1]} of {BATCH * BATCHES}: {len(records)} complete "
            f"and valid, {min(lengths)} to {max(lengths)} tokens of {MAX_NEW_TOKENS}."
        )
