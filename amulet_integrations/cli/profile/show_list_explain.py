"""`amulet profile show`, `list` and `explain`: what users prefer, and which of it holds."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from amulet_integrations.cli import terminal
from amulet_integrations.cli.loading import open_store
from amulet_integrations.cli.options import Json, Profiles, User, examples, option
from amulet_integrations.errors import CorruptProfileError, InvalidProfileError, ProfileError
from amulet_integrations.profiles import PreferenceProfile, ProfileChange, ProfileStore
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import as_utc
from amulet_integrations.profiles.inheritance import line_of
from amulet_integrations.profiles.profile_explanation import ProfileExplanation
from amulet_integrations.profiles.stores.description import database_option, describe_store

from . import group
from .explained_profile import format_explanation
from .profile_text import format_profile, format_time


@group.profile.command(
    epilog=examples(
        "amulet profile show ann",
        "amulet profile show ann --json",
        "amulet profile show ann --version 3",
    )
)
def show(
    user: User,
    version: Annotated[
        int | None, option("N", "An earlier version.", default="the one that holds", min=1)
    ] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Show a user's profile, with the texts of the preferences."""
    with open_store(profiles) as store:
        if version is None:
            found = group.require(store.get(user), user, store)
        else:
            found = _version(group.require(store.history(user), user, store), user, version)
    group.print_result(found.model_dump(mode="json"), format_profile(found), as_json=as_json)


@group.profile.command("list")
def list_(profiles: Profiles = None, as_json: Json = False) -> None:
    """List everyone who has a profile, without the texts of the preferences."""
    with open_store(profiles) as store:
        everyone = [_summarize(store, user) for user in store.user_ids()]
        nobody = (
            f"There are no profiles in {describe_store(store)}. "
            f'Make one: amulet profile set USER --preference "…"{database_option(store)}'
        )
    if as_json:
        group.print_json([content for content, _ in everyone])
        return
    if not everyone:
        terminal.notice(nobody)
    names = [terminal.quoted_if_odd(content["user_id"]) for content, _ in everyone]
    width = max(map(cell_len, names), default=0)
    for name, (_, summary) in zip(names, everyone, strict=True):
        typer.echo(f"{set_cell_size(name, width)}  {summary}")


@group.profile.command(
    epilog=examples(
        "amulet profile explain ann",
        "amulet profile explain ann --about topic=health --about locale=de",
        "amulet profile explain ann --at 2027-01-01T00:00+01:00",
    )
)
def explain(
    user: User,
    about: group.About = None,
    at: Annotated[str | None, option("TIME", "A moment with a time zone.", default="now")] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Show which preferences of a user hold, which do not and why, and what they come to."""
    time = datetime.now(UTC) if at is None else _parse_time(at)
    context = PreferenceContext(group.parse_pairs("--about", about))
    with open_store(profiles) as store:
        explanation = ProfileExplanation(
            line_of(group.require(store.get(user), user, store), store.get, store.limits),
            time,
            context,
        )
    text = format_explanation(explanation)
    group.print_result(explanation.as_json(), text, as_json=as_json)


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"--at {text!r} is no moment; write it as 2027-01-01T00:00+01:00."
        ) from None
    return as_utc("--at", moment)


def _version(changes: list[ProfileChange], user: str, version: int) -> PreferenceProfile:
    change = next((it for it in changes if it.version == version), None)
    if change is None:
        why = "does not exist"
    elif change.profile is not None:
        return change.profile
    else:
        why = "is a removal" if change.problem is None else f"is damaged: {change.problem}"
    raise ProfileError(
        f"Version {version} of the profile of {user!r} {why}. "
        f"See the versions with: amulet profile history {shlex.quote(user)}"
    )


def _summarize(store: ProfileStore, user: str) -> tuple[dict[str, Any], str]:
    """A user's profile as JSON and in a line; a damaged one hides nobody else's."""
    try:
        found = group.require(store.get(user), user, store)
    except (CorruptProfileError, InvalidProfileError) as error:
        return {"user_id": user, "error": str(error)}, f"damaged: {terminal.one_line(error)}"
    content = found.model_dump(mode="json", include={"user_id", "version", "updated_at"})
    count = len(found.preferences)
    preferences = terminal.plural(count, "preference")
    summary = f"{preferences}, version {found.version}, {format_time(found.updated_at)}"
    return {**content, "preferences": count}, summary
