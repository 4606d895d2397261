"""What a forked child can do, whatever the threads of its parent held."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, caller_warnings
from amulet_integrations.concurrency.fork_safe import ForkSafeLock, reset_in_child
from amulet_integrations.concurrency.user_turns import UserTurns
from amulet_integrations.engine import loaded_engines, run_on_worker, worker
from amulet_integrations.llama_index import KVProfileStore, kv_store
from amulet_integrations.personalization.explained_answers import RecentAnswers
from amulet_integrations.personalization.unknown_users import UnknownUsers
from amulet_integrations.profiles import CachedProfileStore
from amulet_integrations.profiles.stores import invalidation
from amulet_integrations.profiles.stores.keyed_lock import KeyedLock
from amulet_integrations.profiles.stores.opened_stores import OpenedStores
from amulet_integrations.registry import Registry

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

ANN = PreferenceProfile(user_id="ann", preferences=["Be kind."])


@contextmanager
def held_elsewhere(lock):
    """Holds a lock on another thread."""
    held, go = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            assert go.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    try:
        yield
    finally:
        go.set()
        holder.join()


def exit_code_of_child(use):
    """What a forked child exits with: 0 if a function returns there within its time."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(30)
    code = 1
    try:
        use()
        code = 0
    finally:
        os._exit(code)


def of_store():
    store = InMemoryProfileStore([ANN])
    return store._lock, lambda: store.get("ann").preferences and store.save(store.get("ann"))


def of_cache():
    cache = CachedProfileStore(InMemoryProfileStore([ANN]))
    return cache._lock, lambda: cache.get("ann").preferences


def of_changes():
    return invalidation._lock, lambda: CachedProfileStore(InMemoryProfileStore())


def of_a_key():
    keys = KeyedLock()

    def use():
        for _ in range(2):
            with keys.hold("ann"):
                pass

    return keys.hold("ann"), use


def of_all_keys():
    keys = KeyedLock()
    return keys._guard, lambda: keys.hold("ann").__enter__()


def of_mappings():
    store = KVProfileStore(SimpleKVStore())
    return kv_store._MAPPING_LOCK, lambda: store.save(ANN) and store.get("ann").preferences


def of_unknown_users():
    users = UnknownUsers()
    return users._lock, lambda: users.report_key("warn", "usr_id", "A message.")


def of_explained_answers():
    answers = RecentAnswers()
    return answers._lock, lambda: answers.keep(None)


def of_warnings():
    return caller_warnings._lock, lambda: caller_warnings.warn_caller("x", UserWarning, once=True)


def of_stores():
    opened = OpenedStores()
    return opened._opening, lambda: opened.store(":memory:", 0.0).get("ann")


def of_the_registry():
    registry = Registry()

    class Engine:
        tokenizer, context_window = None, 8

    registry._prompts[id(Engine), " "] = (Engine, "builder")
    return registry._lock, lambda: registry.prompts(Engine, " ")


def of_the_worker():
    return worker._worker._lock, lambda: run_on_worker(int)


def of_turns():
    turns = UserTurns()
    return turns.take(int), lambda: turns.take(int).__enter__()


def of_the_line_for_turns():
    turns = UserTurns()
    return turns._changed, lambda: turns.take(int).__enter__()


def of_loading():
    class Source:
        key = "test_fork_safe"

    def use():
        with pytest.raises(AttributeError):
            loaded_engines.shared_engine(Source)

    return loaded_engines._locks[Source.key], use


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        of_store,
        of_cache,
        of_changes,
        of_a_key,
        of_all_keys,
        of_mappings,
        of_unknown_users,
        of_explained_answers,
        of_warnings,
        of_stores,
        of_the_registry,
        of_the_worker,
        of_turns,
        of_the_line_for_turns,
        of_loading,
    ],
    ids=lambda make: make.__name__,
)
def test_what_a_thread_of_the_parent_holds_is_free_in_a_child(make):
    lock, use = make()
    with held_elsewhere(lock):
        assert exit_code_of_child(use) == 0


def test_what_begins_anew_may_make_others():
    class Maker:
        def reset(self):
            self.lock = ForkSafeLock()

    makers, locks = [Maker() for _ in range(9)], [ForkSafeLock() for _ in range(9)]
    for maker in makers:
        reset_in_child(maker)
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(held_elsewhere(lock))

        def use():
            for lock in locks:
                with lock:
                    pass
            assert all(hasattr(maker, "lock") for maker in makers)

        assert exit_code_of_child(use) == 0


@pytest.mark.parametrize("make", [ForkSafeLock, lambda: KeyedLock().hold("x"), of_turns])
def test_a_child_gives_back_what_the_forking_thread_holds(make):
    made = make()
    lock = made[0] if isinstance(made, tuple) else made
    left = []
    with lock:
        if not (child := os.fork()):
            left.append(True)
    if left:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lock_stays_with_the_thread_that_forks():
    lock, states = ForkSafeLock(), []

    def look():
        with lock:
            states.append("free")

    with lock:
        if not (child := os.fork()):
            other = threading.Thread(target=look, daemon=True)
            other.start()
            other.join(0.1)
            os._exit(len(states))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
