"""Imports memories into a store of profiles: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amulet_integrations.errors import AmuletError, ImportInterruptedError, ProfileLimitError
from amulet_integrations.profiles.contradictions.contradiction import (
    Contradiction,
    find_contradictions,
)
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    contradictions_told_otherwise,
)
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import read_profile, update_profile
from amulet_integrations.profiles.stores.base import ProfileStore

from .foreign_memory import Choose, ForeignMemory, checked_users
from .import_report import ImportEntry, ImportReport, in_order
from .langmem_memories import read_langmem
from .mem0_memories import ORIGIN as MEM0
from .mem0_memories import read_mem0
from .namespace_template import DEFAULT_NAMESPACE, NamespaceTemplate
from .plain_text import read_plain_text
from .preference_words import every_memory, states_preference
from .profile_merge import Chosen, choose_preference, merge_memories, missing_memories


def import_langmem(
    store: ProfileStore,
    source: Any,
    *,
    namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
    user_ids: Iterable[str] | None = None,
    choose: Choose = states_preference,
    dry_run: bool = False,
    by: str | None = None,
) -> ImportReport:
    """Imports what LangMem remembers of users.

    A memory becomes a preference where it says what its user wants; see `states_preference`. Its
    key becomes the preference's name, so that importing again adds nothing and changes what has
    changed. Nothing is deleted. Everything is checked before the first profile is written, and each
    profile is changed by the store's `update`.

    Args:
        store: The store of profiles to write.
        source: A LangGraph `BaseStore`, such as an `InMemoryStore` or a `PostgresStore`; or its
            items, or these as JSON (a list, or an object on each line).
        namespace: Where the memories are, with the user in braces; a string has "/" between the
            parts.
        user_ids: The users; None for all.
        choose: Says of each memory whether it is a preference (True or False), or which one (a
            `Preference`). `every_memory` takes all of them.
        dry_run: Whether to report only.
        by: Who makes the change, for stores that keep a history.

    Returns:
        What became of each memory, and why.

    Raises:
        InvalidProfileError: The source has another form. The message names the place and what was
            expected; nothing is written.
        ProfileLimitError: A profile would exceed a limit; nothing is written.
        ImportInterruptedError: The store failed on the way; it says who is written.
        ProfileError: The store cannot be read.
    """
    users = None if user_ids is None else checked_users(user_ids)
    template = NamespaceTemplate.of(namespace)
    memories = read_langmem(source, template.parts, users)
    return import_memories(
        store, memories, choose, users=users or (), origin=template.origin, dry_run=dry_run, by=by
    )


def import_mem0(
    store: ProfileStore,
    source: Any,
    *,
    user_ids: Iterable[str] | None = None,
    choose: Choose = states_preference,
    dry_run: bool = False,
    by: str | None = None,
) -> ImportReport:
    """Imports what mem0 remembers of users; see `import_langmem` for the rules.

    The `expiration_date` of a memory becomes the end of the preference. Memories of an agent or a
    run without a user, and what the assistant said, are skipped.

    Args:
        store: The store of profiles to write.
        source: A mem0 `Memory`; or what its `get_all` returned, or that as JSON.
        user_ids: The users. A `Memory` needs them, for it does not list its own. A single one is
            also the user of memories that name nobody.
        choose: As for `import_langmem`.
        dry_run: Whether to report only.
        by: Who makes the change, for stores that keep a history.

    Returns:
        What became of each memory, and why.

    Raises:
        InvalidProfileError: As for `import_langmem`.
        ProfileLimitError: A profile would exceed a limit; nothing is written.
        ImportInterruptedError: The store failed on the way; it says who is written.
        ProfileError: The store cannot be read.
    """
    users = None if user_ids is None else checked_users(user_ids)
    memories = read_mem0(source, users)
    return import_memories(
        store, memories, choose, users=users or (), origin=MEM0, dry_run=dry_run, by=by
    )


def import_plain_text(
    store: ProfileStore,
    text: str,
    *,
    user_id: str | None = None,
    choose: Choose = every_memory,
    dry_run: bool = False,
    by: str | None = None,
) -> ImportReport:
    """Imports preferences that people have written down; `read_plain_text` says how.

    Every line is a preference. One that the profile has already, by its text, is not added again.

    Args:
        store: The store of profiles to write.
        text: The text.
        user_id: Whose preferences they are; None if the lines say so.
        choose: As for `import_langmem`.
        dry_run: Whether to report only.
        by: Who makes the change, for stores that keep a history.

    Returns:
        What became of each line, and why.

    Raises:
        InvalidProfileError: A line is of no user, or can be read in two ways; nothing is written.
        ProfileLimitError: A profile would exceed a limit; nothing is written.
        ImportInterruptedError: The store failed on the way; it says who is written.
        ProfileError: The store cannot be read.
    """
    memories = read_plain_text(text, user_id)
    return import_memories(store, memories, choose, dry_run=dry_run, by=by)


def import_memories(
    store: ProfileStore,
    memories: Sequence[ForeignMemory],
    choose: Choose,
    *,
    users: Iterable[str] = (),
    origin: str | None = None,
    dry_run: bool = False,
    by: str | None = None,
) -> ImportReport:
    """Imports memories, of whichever store.

    Args:
        store: The store of profiles to write.
        memories: The memories.
        choose: As for `import_langmem`.
        users: Users of whom all memories are given, perhaps none.
        origin: Whose preferences are missing if they are not among `memories`; None for nobody's.
        dry_run: Whether to report only.
        by: Who makes the change, for stores that keep a history.
    """
    chosen: dict[str, list[Chosen]] = {user_id: [] for user_id in users}
    for memory in memories:
        user_id = "" if memory.is_not_asked_for else memory.user_id
        chosen.setdefault(user_id, []).append(choose_preference(memory, choose))
    nobodys = chosen.pop("", [])  # no user has this id
    became: dict[str, list[ImportEntry]] = {
        "": [ImportEntry.of(it.memory, "skipped", it.reason) for it in nobodys]
    }
    missing: list[ImportEntry] = []
    changed: list[str] = []
    contradictions: dict[str, tuple[Contradiction, ...]] = {}
    for user_id, of_user in chosen.items():
        before = read_profile(store, user_id) or PreferenceProfile(user_id=user_id)
        after, became[user_id] = merge_memories(before, of_user)
        if origin is not None:
            missing += missing_memories(before, of_user, origin)
        if after is not before:
            _check_limits(store, after, before)
            changed.append(user_id)
            if found := find_contradictions(after.preferences):
                contradictions[user_id] = found
    if not dry_run:
        with contradictions_told_otherwise():  # the report tells them
            became |= _write(store, {user_id: chosen[user_id] for user_id in changed}, by)
        changed = [it for it in changed if any(one.is_change for one in became[it])]
    entries = [it for of_user in became.values() for it in of_user]
    ordered = (*in_order(memories, entries), *missing)
    return ImportReport(ordered, tuple(changed), contradictions, is_dry_run=dry_run)


def _write(
    store: ProfileStore, chosen: Mapping[str, Sequence[Chosen]], by: str | None
) -> dict[str, list[ImportEntry]]:
    """Changes the profiles. Returns what became of each user's memories, if others were faster.

    Raises:
        ImportInterruptedError: The store fails.
    """
    became: list[ImportEntry] = []
    written: dict[str, list[ImportEntry]] = {}
    for user_id, of_user in chosen.items():

        def merge(
            before: PreferenceProfile, of_user: Sequence[Chosen] = of_user
        ) -> PreferenceProfile | None:
            nonlocal became
            after, became = merge_memories(before, of_user)
            return None if after is before else after

        try:
            update_profile(store, user_id, merge, by=by)
        except AmuletError as error:
            raise ImportInterruptedError.at(user_id, list(written), error) from error
        written[user_id] = became
    return written


def _check_limits(store: ProfileStore, after: PreferenceProfile, before: PreferenceProfile) -> None:
    try:
        limits_of(store).check_saved(after, lambda: before)
    except ProfileLimitError as error:
        raise ProfileLimitError(
            f"{error} Nothing was imported. To leave out some of the memories, give choose=."
        ) from None
