"""Reading a user's profile: from the cache, and from the stores behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SqlProfileStore,
)
from amulet_integrations.profiles import CachedProfileStore, ProfileStore
from benchmarks.support.timing import FULL, ROUNDS, Effort, median_seconds

USERS = [f"user-{number}@example.com" for number in range(100)]
READS = {"cached": 100_000, "in memory": 100_000, "SQLite file": 500, "PostgreSQL": 500}


def measure(effort: Effort = FULL) -> dict[str, float]:
    """Microseconds of one read, and the ratio of each to a read from the cache."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        database = opened.enter_context(SqlProfileStore(folder / "profiles.db"))
        stores: dict[str, ProfileStore] = {
            "cached": CachedProfileStore(database, ttl=3600),
            "in memory": InMemoryProfileStore(),
            "SQLite file": database,
        }
        if programs := server_programs():
            url = opened.enter_context(serving(programs))
            stores["PostgreSQL"] = opened.enter_context(SqlProfileStore(url))
        else:
            print("  PostgreSQL is left out: its server is not installed (initdb is not found).")
        for name in stores.keys() - {"cached"}:
            _fill(stores[name])
        readers = {name: _reader(name, store) for name, store in stores.items()}
        seconds = median_seconds(readers, 1 if effort.quick else ROUNDS)
    micros = {name: 1e6 * seconds[name] / READS[name] for name in stores}
    ratios = {f"{name} / cached": micros[name] / micros["cached"] for name in stores}
    del ratios["cached / cached"]
    return {
        **{f"{name} us": value for name, value in micros.items()},
        **ratios,
    }


def _fill(store: ProfileStore) -> None:
    texts = ["Answer in one short sentence.", "Explain with examples.", "Be kind."]
    preferences = tuple(Preference(text=text) for text in texts)
    for user_id in USERS:
        store.save(PreferenceProfile(user_id=user_id, preferences=preferences))


def _reader(name: str, store: ProfileStore) -> Callable[[], None]:
    def read() -> None:
        for _, user_id in zip(range(READS[name]), cycle(USERS), strict=False):
            if store.get(user_id) is None:
                raise SystemExit(f"{store!r} has lost {user_id}.")

    return read


def server_programs() -> Path | None:
    """Where PostgreSQL's server is installed, if it is."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (installed[-1] if installed else None)
    return Path(found).resolve().parent if found else None


@contextmanager
def serving(programs: Path) -> Iterator[str]:
    """A server of its own, with its default settings, behind a socket in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="amulet-bench-"))
    # The server refuses to be run by root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [programs / program, "--pgdata", folder / "data", *arguments]
        subprocess.run(  # noqa: S603 - our own command
            command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL
        )

    try:
        run("initdb", "--username=amulet", "--auth=trust", "--encoding=UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        run("pg_ctl", "start", "--wait", f"--log={folder / 'log'}", f"--options={settings}")
        try:
            yield f"postgresql://amulet@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=fast")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
