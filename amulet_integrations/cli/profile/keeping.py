"""`amulet profile history`, `restore` and `erase`: what was, and what must be no more."""

from __future__ import annotations

from typing import Annotated

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import Database, Json, User, examples
from amulet_integrations.cli.profile.group import (
    known,
    operator,
    print_json,
    profile,
    tell_saved,
)
from amulet_integrations.cli.profile.sheet import minute
from amulet_integrations.cli.session import open_store
from amulet_integrations.profiles import ProfileChange

_DONE = {
    "save": "saved",
    "delete": "removed",
    "restore": "restored",
    "import": "imported",
}


@profile.command(epilog=examples("amulet profile history ann", "amulet profile history ann --json"))
def history(
    user: User,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the newest N.", show_default="all"),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """List every change of a user's profile: when, what and by whom.

    The texts of the preferences are not told, but with --json; see one version with `show
    --version`.
    """
    with open_store(db) as store:
        changes = known(store.history(user, limit=limit) or None, user)
    if as_json:
        print_json([change.model_dump(mode="json") for change in changes])
        return
    width = len(str(changes[-1].version))
    for change in changes:
        typer.echo(f"{change.version:>{width}}  {minute(change.at)}  {_told(change)}")


@profile.command(epilog=examples("amulet profile restore ann 3"))
def restore(
    user: User,
    version: Annotated[
        int,
        typer.Argument(min=1, metavar="VERSION", help="A version that `history` lists."),
    ],
    db: Database = None,
) -> None:
    """Bring back an earlier version of a user's profile, as a new version."""
    with open_store(db) as store:
        tell_saved(store.restore(user, version, by=operator()))


@profile.command(epilog=examples("amulet profile erase ann"))
def erase(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Database = None,
) -> None:
    """Delete a user's profile for good, with its history: nothing can be restored."""
    with open_store(db) as store:
        if not yes:
            typer.confirm(
                f"Erase the profile of {screen.one_line(user)} and its history for good?",
                abort=True,
                err=True,
            )
        known(store.erase(user) or None, user)
    typer.echo(f"Erased the profile of {screen.one_line(user)} and its history.")


def _told(change: ProfileChange) -> str:
    if change.problem is not None or change.action is None:
        return f"damaged: {screen.one_line(change.problem)}"
    who = "" if change.by is None else f" by {screen.one_line(change.by)}"
    held = ""
    if change.profile is not None:
        held = f": {screen.count(len(change.profile.preferences), 'preference')}"
    return f"{_DONE[change.action]}{who}{held}"
