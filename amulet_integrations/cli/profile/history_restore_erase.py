"""`amulet profile history`, `restore` and `erase`: the earlier versions of a profile."""

from __future__ import annotations

from typing import Annotated

import typer

from amulet_integrations.cli import terminal
from amulet_integrations.cli.loading import open_store
from amulet_integrations.cli.options import Json, Profiles, User, examples, option
from amulet_integrations.profiles import ProfileChange

from . import group
from .profile_text import format_time

_ACTIONS = {
    "save": "saved",
    "delete": "removed",
    "restore": "restored",
    "import": "imported",
}


@group.profile.command(
    epilog=examples("amulet profile history ann", "amulet profile history ann --json")
)
def history(
    user: User,
    limit: Annotated[int | None, option("N", "Only the newest N.", default="all", min=1)] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """List every change of a user's profile: when, what and by whom.

    The texts of the preferences are shown only with --json; see one version with `show --version`.
    """
    with open_store(profiles) as store:
        changes = group.require(store.history(user, limit=limit), user, store)
    if as_json:
        group.print_json([change.model_dump(mode="json") for change in changes])
        return
    width = len(str(changes[-1].version))
    for change in changes:
        typer.echo(f"{change.version:>{width}}  {format_time(change.at)}  {_describe(change)}")


@group.profile.command(epilog=examples("amulet profile restore ann 3"))
def restore(
    user: User,
    version: Annotated[
        int, typer.Argument(min=1, metavar="VERSION", help="A version that `history` lists.")
    ],
    profiles: Profiles = None,
) -> None:
    """Bring back an earlier version of a user's profile, as a new version."""
    with open_store(profiles) as store:
        group.print_saved(store.restore(user, version, by=group.operator()))


@group.profile.command(epilog=examples("amulet profile erase ann"))
def erase(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    profiles: Profiles = None,
) -> None:
    """Delete a user's profile for good, with its history: nothing can be restored."""
    with open_store(profiles) as store:
        if not yes:
            typer.confirm(
                f"Erase the profile of {terminal.quoted_if_odd(user)} and its history for good?",
                abort=True,
                err=True,
            )
        group.require(store.erase(user), user, store)
    typer.echo(f"Erased the profile of {terminal.quoted_if_odd(user)} and its history.")


def _describe(change: ProfileChange) -> str:
    if change.problem is not None or change.action is None:
        return f"damaged: {terminal.one_line(change.problem)}"
    who = "" if change.by is None else f" by {terminal.quoted_if_odd(change.by)}"
    preferences = ""
    if change.profile is not None:
        preferences = f": {terminal.plural(len(change.profile.preferences), 'preference')}"
    return f"{_ACTIONS[change.action]}{who}{preferences}"
