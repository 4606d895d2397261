"""Processes that write to a database at once, and that are killed while they write."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from tests.support.postgres import PostgresServer

Acknowledged = tuple[str, int, str]
"""A user, a version, and the text that this version begins with."""

TOGETHER = ("x", "y", "z")
"""Users whose profiles are always written in one transaction."""


def context() -> multiprocessing.context.ForkServerContext:
    """Starts processes quickly: they are forked from one that has imported all this."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


def added(text: str) -> Callable[[PreferenceProfile], PreferenceProfile]:
    """The change that adds a preference."""
    return lambda it: it.model_copy(update={"preferences": [*it.preferences, text]})


def update_often(url: str, name: str, times: int) -> None:
    """Adds so many preferences to one profile."""
    with SqlProfileStore(url) as store:
        for number in range(times):
            store.update("ann", added(f"{name}.{number}"), by=name)


def open_and_save(urls: list[str], times: int, pipe: Connection) -> None:
    """On each message, opens the next database and saves a profile so many times."""
    for url in urls:
        pipe.recv()
        with SqlProfileStore(url) as store:
            pipe.send([store.save(PreferenceProfile(user_id="ann")).version for _ in range(times)])


def open_at_once(urls: list[str], processes: int, times: int) -> dict[str, list[int]]:
    """Has processes open databases, one after the other, in the same moment, and save there.

    Returns:
        The versions that were stored in each.
    """
    running, pipes = [], []
    for _ in range(processes):
        ours, its = context().Pipe()
        running.append(context().Process(target=open_and_save, args=(urls, times, its)))
        running[-1].start()
        its.close()
        pipes.append(ours)
    versions: dict[str, list[int]] = {}
    for url in urls:
        for pipe in pipes:
            pipe.send("go")
        versions[url] = [version for pipe in pipes for version in pipe.recv()]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    return versions


def open_without_alembic(path: Path) -> None:
    """Opens a database that is up to date, for a process of its own."""
    SqlProfileStore(path).close()
    assert "alembic" not in sys.modules


def update_in_forks(url: str) -> None:
    """Goes on with one store in forks of this process."""
    store = SqlProfileStore(url)
    store.save(PreferenceProfile(user_id="ann"))
    forks = []
    for _ in range(3):
        if not (fork := os.fork()):
            update_for(store)
            store.close()
            os._exit(0)
        forks.append(fork)
    update_for(store)
    assert [os.waitpid(fork, 0)[1] for fork in forks] == [0, 0, 0]


def fork_and_close(path: str) -> None:
    """Closes a store that a fork goes on writing to; no change of the fork is lost."""
    store = SqlProfileStore(path)
    store.save(PreferenceProfile(user_id="ann"))
    read, tell = os.pipe()
    closed, close = os.pipe()
    if not (fork := os.fork()):
        store.save(PreferenceProfile(user_id="before"))
        os.write(tell, b"x")
        os.read(closed, 1)
        for number in range(3):
            store.save(PreferenceProfile(user_id=f"after {number}"))
        os.write(tell, b"x")
        time.sleep(60)
    os.read(read, 1)
    store.close()
    os.write(close, b"x")
    os.read(read, 1)
    with SqlProfileStore(path) as other:
        seen = other.user_ids()
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)
    with SqlProfileStore(path) as other:
        assert seen == other.user_ids() == ["after 0", "after 1", "after 2", "ann", "before"]


def fork_beside_a_writer(url: str) -> None:
    """Forks while another thread writes and writes; both processes go on."""
    store = SqlProfileStore(url)
    inside, enough = threading.Event(), threading.Event()

    def work(connection: object) -> None:
        inside.set()
        time.sleep(0.05)

    def write_on() -> None:
        while not enough.is_set():
            store._database.write("wait", work)

    writer = threading.Thread(target=write_on)
    writer.start()
    inside.wait()
    start = time.monotonic()
    if not (fork := os.fork()):
        with suppress(BaseException):
            store.save(PreferenceProfile(user_id="child"))
            os._exit(0)
        os._exit(1)
    took = time.monotonic() - start
    enough.set()
    writer.join()
    store.save(PreferenceProfile(user_id="parent"))
    assert os.waitpid(fork, 0)[1] == 0
    assert store.user_ids() == ["child", "parent"]
    assert took < 10


def update_for(store: SqlProfileStore) -> None:
    """Makes ten changes."""
    for _ in range(10):
        store.update("ann", lambda it: it.model_copy(update={"method": None}))


def update_from_many(url: str, processes: int, times: int) -> None:
    """Has processes add preferences to one profile at once, and checks that each is there."""
    names = [f"process {number}" for number in range(processes)]
    running = [context().Process(target=update_often, args=(url, name, times)) for name in names]
    for process in running:
        process.start()
    for process in running:
        process.join(600)
        assert process.exitcode == 0
    with SqlProfileStore(url) as store:
        profile, changes = store.get("ann"), store.history("ann")
    texts = [one.text for one in profile.preferences]
    assert sorted(texts) == sorted(f"{name}.{it}" for name in names for it in range(times))
    assert [change.version for change in changes] == list(range(1, processes * times + 1))
    for change, text in zip(changes, texts, strict=True):
        assert change.profile.preferences == profile.preferences[: change.version]
        assert text.startswith(f"{change.by}.")


def write(url: str, name: str, acknowledge: Callable[[Acknowledged], None]) -> None:
    """Writes until it is stopped, and acknowledges each change when it is stored."""
    with SqlProfileStore(url) as store:
        for number in count():
            text = f"{name}.{number}"
            stored = store.update(
                "ann", lambda it, text=text: it.model_copy(update={"preferences": [text]})
            )
            acknowledge(("ann", stored.version, text))
            if number % 2:
                profiles = [{"user_id": user_id, "preferences": [text]} for user_id in TOGETHER]
                file = {"format": "amulet-profiles", "format_version": 1, "profiles": profiles}
                for stored in store.import_json(json.dumps(file)):
                    acknowledge((stored.user_id, stored.version, text))


def write_until_killed(url: str, name: str, pipe: Connection) -> None:
    """As `write`, for a process of its own."""
    write(url, name, pipe.send)


def kill_a_writer(url: str, name: str) -> list[Acknowledged]:
    """Starts a process that writes, and kills it in the middle.

    Returns:
        The acknowledged changes.
    """
    ours, its = context().Pipe(duplex=False)
    process: ForkServerProcess = context().Process(target=write_until_killed, args=(url, name, its))
    process.start()
    its.close()
    acknowledged = [ours.recv()]
    time.sleep(random.uniform(0.0, 0.06))
    process.kill()
    try:
        while True:
            acknowledged.append(ours.recv())
    except EOFError:
        process.join(60)
    return acknowledged


def write_until_lost(url: str, name: str, acknowledged: list[Acknowledged]) -> None:
    """Writes until the server is gone."""
    with suppress(ProfileStoreError):
        write(url, name, acknowledged.append)


def kill_a_server(server: PostgresServer, url: str, names: Iterable[str]) -> list[Acknowledged]:
    """Starts threads that write, and has the server crash in the middle.

    Returns:
        The acknowledged changes.
    """
    acknowledged: list[Acknowledged] = []
    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write_until_lost, url, name, acknowledged) for name in names]
        while not acknowledged and not all(writer.done() for writer in writers):
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.5))
        server.stop("immediate")
    for writer in writers:
        writer.result()
    server.start()
    assert acknowledged
    return acknowledged


def check_whole(url: str, acknowledged: Iterable[Acknowledged]) -> None:
    """Checks that every acknowledged change is there, and that no change is half stored."""
    with SqlProfileStore(url) as store:
        histories = {user_id: store.history(user_id) for user_id in ("ann", *TOGETHER)}
        for user_id, changes in histories.items():
            assert [one.version for one in changes] == list(range(1, len(changes) + 1))
            assert all(one.problem is None for one in changes)
            assert store.get(user_id) == (changes[-1].profile if changes else None)
    texts = {
        user_id: [one.profile.preferences[0].text for one in changes]
        for user_id, changes in histories.items()
    }
    assert texts["x"] == texts["y"] == texts["z"]
    for user_id, version, text in acknowledged:
        assert texts[user_id][version - 1] == text
