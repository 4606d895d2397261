"""Several processes at one database, some of them killed; the long form is an acceptance check."""

from __future__ import annotations

import pytest

from tests.support.sql_writers import (
    check_whole,
    kill_a_server,
    kill_a_writer,
    update_from_many,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return str(tmp_path / "profiles.db")


def test_no_update_of_many_processes_is_lost(url):
    update_from_many(url, processes=3, times=15)


def test_acknowledged_changes_of_a_killed_writer_are_there(url):
    acknowledged = []
    for number in range(3):
        acknowledged += kill_a_writer(url, f"writer {number}")
        check_whole(url, acknowledged)


def test_acknowledged_changes_of_a_killed_server_are_there(
    durable_postgres_server, durable_postgres_url
):
    acknowledged = kill_a_server(durable_postgres_server, durable_postgres_url, ["writer"])
    check_whole(durable_postgres_url, acknowledged)
