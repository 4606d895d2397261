"""Hundreds of changes by many processes, and dozens of kills: no change is lost or half stored."""

from __future__ import annotations

import pytest

from amulet_integrations.profiles import SqlProfileStore
from tests.support.sql_writers import (
    check_whole,
    context,
    kill_a_server,
    kill_a_writer,
    update_from_many,
    update_often,
)

pytestmark = pytest.mark.acceptance

KILLS = 50


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return str(tmp_path / "profiles.db")


def test_eight_processes_lose_none_of_eight_hundred_changes(url):
    update_from_many(url, processes=8, times=100)


def test_eight_processes_may_start_at_once_on_an_empty_database(url):
    running = [
        context().Process(target=update_often, args=(url, str(number), 1)) for number in range(8)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * 8
    with SqlProfileStore(url) as store:
        assert [change.version for change in store.history("ann")] == list(range(1, 9))


def test_acknowledged_changes_of_killed_writers_are_there(url):
    acknowledged = []
    for number in range(KILLS):
        acknowledged += kill_a_writer(url, f"writer {number}")
        check_whole(url, acknowledged)
    assert len(acknowledged) >= KILLS


def test_acknowledged_changes_of_a_killed_server_are_there(
    durable_postgres_server, durable_postgres_url
):
    acknowledged = []
    for turn in range(5):
        names = [f"{turn}.{number}" for number in range(3)]
        acknowledged += kill_a_server(durable_postgres_server, durable_postgres_url, names)
        check_whole(durable_postgres_url, acknowledged)
