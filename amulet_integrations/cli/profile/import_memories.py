"""What `amulet profile import --from` reads, and its report as text."""

from __future__ import annotations

from typing import Literal

import typer

from amulet_integrations.cli.terminal import one_line, plural, quoted_if_odd
from amulet_integrations.profiles import (
    ImportEntry,
    ImportReport,
    ProfileStore,
    every_memory,
    import_langmem,
    import_mem0,
    import_plain_text,
    states_preference,
)
from amulet_integrations.profiles.importing.preference_words import NO_PREFERENCE

Origin = Literal["amulet", "langmem", "mem0", "text"]

_SIGNS = {"added": "+", "updated": "~", "unchanged": "=", "skipped": "-", "missing": "?"}


def import_from(
    store: ProfileStore,
    origin: Origin,
    text: str,
    *,
    user: str | None,
    namespace: str | None,
    everything: bool,
    dry_run: bool,
    by: str | None,
) -> ImportReport:
    """Imports the text of a file.

    Raises:
        typer.BadParameter: An option has no meaning for this origin.
        ProfileError: The text has another form, or the store fails.
    """
    if namespace is not None and origin != "langmem":
        raise typer.BadParameter("--namespace goes with --from langmem.")
    choose = every_memory if everything or origin == "text" else states_preference
    if origin == "text":
        return import_plain_text(store, text, user_id=user, choose=choose, dry_run=dry_run, by=by)
    users = None if user is None else [user]
    if origin == "mem0":
        return import_mem0(store, text, user_ids=users, choose=choose, dry_run=dry_run, by=by)
    return import_langmem(
        store,
        text,
        namespace=namespace or "memories/{user_id}",
        user_ids=users,
        choose=choose,
        dry_run=dry_run,
        by=by,
    )


def format_import(report: ImportReport) -> str:
    """The report as text, for people: a line for each memory, and the counts."""
    contradictions = [
        one_line(f"! {quoted_if_odd(user_id)}: {it}")
        for user_id, found in report.contradictions.items()
        for it in found
    ]
    return "\n".join([*map(_line, report.entries), *contradictions, _summary(report)])


def _line(entry: ImportEntry) -> str:
    whose = f"{quoted_if_odd(entry.user_id)}: " if entry.user_id else ""
    where = entry.place or entry.name or ""
    why = f" ({entry.reason})" if entry.reason else ""
    text = f": {entry.text}" if entry.text else ""
    return one_line(f"{_SIGNS[entry.outcome]} {whose}{where}{text}{why}")


def _summary(report: ImportReport) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
    users = plural(len(report.changed_users), "profile")
    done = f"{users} would be changed" if report.is_dry_run else f"Changed {users}"
    hint = ""
    if any(it.reason == NO_PREFERENCE for it in report.entries):
        hint = " --all imports those that do not say what the user wants, too."
    return f"{done}: {counts or 'there are no memories'}.{hint}"
