"""What became of each memory of an import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amulet_integrations.profiles.contradictions.contradiction import Contradiction

from .foreign_memory import ForeignMemory

ImportOutcome = Literal["added", "updated", "unchanged", "skipped", "missing"]


@dataclass(frozen=True, kw_only=True)
class ImportEntry:
    """What became of one memory.

    Attributes:
        outcome: "added" or "updated": the profile has a new or a changed preference. "unchanged":
            it had it before. "skipped": it was not imported. "missing": the profile has a
            preference from an earlier import, whose memory is no longer there; it is kept.
        user_id: Whose memory it is; "" where that is not known.
        place: Where it stands in what was read; "" for a missing one.
        reason: Why, where that is not plain.
        name: The name of the preference; None where it has none.
        text: What it says; "" for one of another user than those who were asked for.
    """

    outcome: ImportOutcome
    user_id: str
    place: str
    reason: str | None = None
    name: str | None = None
    text: str = field(repr=False)

    @property
    def is_change(self) -> bool:
        """Whether the profile was changed for it."""
        return self.outcome in ("added", "updated")

    @classmethod
    def of(
        cls, memory: ForeignMemory, outcome: ImportOutcome, reason: str | None = None
    ) -> ImportEntry:
        """The entry of a memory."""
        return cls(
            outcome=outcome,
            user_id=memory.user_id,
            place=memory.place,
            reason=reason,
            name=memory.name,
            text=memory.text,
        )


@dataclass(frozen=True)
class ImportReport:
    """What an import did, or would do.

    Attributes:
        entries: One for each memory in the order of the source, and then one for each preference
            that is missing there.
        changed_users: The users whose profiles were written; in a dry run, those that would be.
        contradictions: By user, preferences of the profiles that contradict each other, where the
            import changes the profile.
        is_dry_run: Whether nothing was written.
    """

    entries: tuple[ImportEntry, ...]
    changed_users: tuple[str, ...]
    contradictions: Mapping[str, tuple[Contradiction, ...]] = field(default_factory=dict)
    is_dry_run: bool = False

    def of(self, outcome: ImportOutcome) -> tuple[ImportEntry, ...]:
        """The entries with this outcome."""
        return tuple(it for it in self.entries if it.outcome == outcome)

    @property
    def counts(self) -> dict[ImportOutcome, int]:
        """How many entries have each outcome; those of none are left out."""
        return dict(Counter(it.outcome for it in self.entries))

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON values, with the texts."""
        return {
            "dry_run": self.is_dry_run,
            "changed_users": list(self.changed_users),
            "counts": dict(self.counts),
            "contradictions": {
                user_id: [it.as_json() for it in found]
                for user_id, found in self.contradictions.items()
            },
            "entries": [dict(vars(it)) for it in self.entries],
        }


def in_order(
    memories: Iterable[ForeignMemory], entries: Iterable[ImportEntry]
) -> list[ImportEntry]:
    """Orders entries as the memories stand in their source."""
    place = {memory.place: number for number, memory in enumerate(memories)}
    return sorted(entries, key=lambda it: place.get(it.place, len(place)))
