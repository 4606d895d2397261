"""What a profile takes: in a database, which is filled, and in the cache of a process."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amulet_integrations import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.profiles import CachedProfileStore
from amulet_integrations.profiles.stores.transfer import to_json
from benchmarks.components.profile_reads import server_programs, serving

_AT_ONCE = 1_000
"""Profiles that are stored in one transaction."""

TEXTS = (
    "Answer in one short sentence, and leave polite phrases out.",
    "Explain with examples from cooking, because I am a cook.",
    "Use metric units and twenty-four-hour times.",
)


def profile(number: int) -> PreferenceProfile:
    """A profile of three preferences, of about 50 characters each."""
    preferences = tuple(Preference(text=f"{text} ({number})") for text in TEXTS)
    return PreferenceProfile(user_id=f"user-{number}@example.com", preferences=preferences)


def cached_bytes(profiles: int) -> float:
    """Bytes of a profile in the cache of a process."""
    with SqlProfileStore(":memory:") as database:
        _fill(database, profiles)
        cache = CachedProfileStore(database, ttl=3600, max_size=2 * profiles)
        cache.get("nobody")
        gc.collect()
        tracemalloc.start()
        for number in range(profiles):
            cache.get(profile(number).user_id)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return grown / profiles


def sqlite_figures(profiles: int, folder: Path) -> dict[str, float]:
    """Bytes of a stored profile with its history, and reads a second of one thread."""
    path = folder / "profiles.db"
    with SqlProfileStore(path) as store:
        _fill(store, profiles)
        reads = _reads_a_second(store, profiles)
    return {
        "bytes a profile": path.stat().st_size / profiles,
        "reads a second": reads,
    }


def postgres_figures(profiles: int) -> dict[str, float] | None:
    """The same in PostgreSQL; None where its server is not installed."""
    if (programs := server_programs()) is None:
        return None
    with serving(programs) as url, SqlProfileStore(url) as store, _connection(url) as execute:
        before = execute("SELECT pg_database_size(current_database())")
        _fill(store, profiles)
        size = execute("SELECT pg_database_size(current_database())") - before
        reads = _reads_a_second(store, profiles)
    return {
        "bytes a profile": size / profiles,
        "reads a second": reads,
    }


def _fill(store: SqlProfileStore, profiles: int) -> None:
    for first in range(0, profiles, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, profiles))
        store.import_json(to_json([profile(number) for number in numbers]))


def _reads_a_second(store: SqlProfileStore, profiles: int, reads: int = 2_000) -> float:
    started = time.perf_counter()
    for number in range(reads):
        if store.get(profile(number * 7919 % profiles).user_id) is None:
            raise SystemExit("A profile is lost.")
    return reads / (time.perf_counter() - started)


@contextmanager
def _connection(url: str) -> Iterator:
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url, autocommit=True) as connection:
        yield lambda command: connection.execute(command).fetchone()[0]
