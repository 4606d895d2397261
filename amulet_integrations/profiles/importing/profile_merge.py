"""A user's profile with memories of another store in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile

from .foreign_memory import Choose, ForeignMemory, name_prefix
from .import_report import ImportEntry, ImportOutcome
from .preference_words import NO_PREFERENCE, states_preference


class Chosen(NamedTuple):
    """A memory and the preference that it becomes; or why it becomes none."""

    memory: ForeignMemory
    preference: Preference | None
    reason: str | None = None


def choose_preference(memory: ForeignMemory, choose: Choose) -> Chosen:
    """Makes a preference of a memory.

    Raises:
        InvalidProfileError: `choose` returns something else than it may.
    """
    if memory.obstacle is not None:
        return Chosen(memory, None, memory.obstacle)
    if memory.expires_at is not None and memory.expires_at <= datetime.now(UTC):
        return Chosen(memory, None, f"it held until {memory.expires_at.isoformat()}")
    answer = choose(memory)
    if answer is False:
        reason = NO_PREFERENCE if choose is states_preference else "choose= left it out"
        return Chosen(memory, None, reason)
    try:
        if answer is True:
            made = Preference(text=memory.text, name=memory.name, valid_until=memory.expires_at)
            return Chosen(memory, made)
    except InvalidProfileError as error:
        return Chosen(memory, None, str(error))
    if isinstance(answer, Preference):
        named = answer if answer.name else answer.model_copy(update={"name": memory.name})
        return Chosen(memory, named)
    raise InvalidProfileError(
        f"choose returned a {type(answer).__name__} for {memory.place}; it returns True, False or "
        "a Preference."
    )


def merge_memories(
    before: PreferenceProfile, chosen: Sequence[Chosen]
) -> tuple[PreferenceProfile, list[ImportEntry]]:
    """Adds what is new to a profile, and changes what has changed.

    A preference is found again by the name that its memory gives it, and one without a name by its
    text. What the user has set since (the weight, the conditions, when it begins) is kept.

    Args:
        before: The profile.
        chosen: The user's memories.

    Returns:
        The profile, the same object where nothing changes, and what became of each memory.

    Raises:
        InvalidProfileError: Two memories have one name and do not say the same.
    """
    merged = _Merged(before.preferences)
    entries: list[ImportEntry] = []
    done: dict[str, Chosen] = {}
    names_before = {it.name for it in before.preferences if it.name}
    for one in chosen:
        memory, wanted, reason = one
        if wanted is None:
            kept = memory.name in names_before
            reason = f"{reason}; what was imported of it before is kept" if kept else reason
            entries.append(ImportEntry.of(memory, "skipped", reason))
            continue
        if wanted.name is not None and (first := done.setdefault(wanted.name, one)) is not one:
            _check_same(first, one)
            reason = f"it is {first.memory.place} once more"
            entries.append(ImportEntry.of(memory, "unchanged", reason))
            continue
        entries.append(ImportEntry.of(memory, *merged.take(wanted)))
    if (preferences := tuple(merged.preferences)) == before.preferences:
        return before, entries
    return before.model_copy(update={"preferences": preferences}), entries


class _Merged:
    """The preferences of a profile, found by name and by text however many there are."""

    def __init__(self, preferences: Iterable[Preference]) -> None:
        self.preferences: list[Preference] = []
        self._places: dict[str, int] = {}
        self._texts: Counter[str] = Counter()
        for it in preferences:
            self._append(it)

    def take(self, wanted: Preference) -> tuple[ImportOutcome, str | None]:
        """Takes a preference in; returns what became of it, and why where that is not plain."""
        place = self._places.get(wanted.name) if wanted.name else None
        if place is not None:
            before = self.preferences[place]
            changed = self.preferences[place] = _changed(before, wanted)
            self._texts[_comparable(before.text)] -= 1
            self._texts[_comparable(changed.text)] += 1
            return ("unchanged" if changed == before else "updated"), None
        if self._texts[_comparable(wanted.text)]:
            return "unchanged", "the profile has the same text"
        self._append(wanted)
        return "added", None

    def _append(self, preference: Preference) -> None:
        if preference.name:
            self._places[preference.name] = len(self.preferences)
        self._texts[_comparable(preference.text)] += 1
        self.preferences.append(preference)


def missing_memories(
    before: PreferenceProfile, chosen: Sequence[Chosen], origin: str
) -> list[ImportEntry]:
    """What an earlier import brought, and the source no longer has."""
    names = {it.memory.name for it in chosen}
    prefix = name_prefix(origin)
    return [
        ImportEntry(
            outcome="missing",
            user_id=before.user_id,
            place="",
            reason="it is not among the memories that were read; the preference is kept",
            name=it.name,
            text=it.text,
        )
        for it in before.preferences
        if it.name is not None and it.name.startswith(prefix) and it.name not in names
    ]


def _changed(before: Preference, wanted: Preference) -> Preference:
    """A preference with the text and the end of its memory."""
    until = wanted.valid_until or before.valid_until
    if until is not None and before.valid_from is not None and until <= before.valid_from:
        until = before.valid_until
    return before.model_copy(update={"text": wanted.text, "valid_until": until})


def _check_same(first: Chosen, second: Chosen) -> None:
    if first.preference != second.preference:
        raise InvalidProfileError(
            f"{second.memory.place} has the id of {first.memory.place} and does not say the same; "
            "expected was one memory for each id."
        )


def _comparable(text: str) -> str:
    """A text without what makes no difference: case and white space."""
    return " ".join(text.casefold().split())
