"""`amulet profile show`, `list` and `explain`: what users prefer, and what of it holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import Database, Json, User, examples
from amulet_integrations.cli.profile.explanation import Explanation, explanation_sheet
from amulet_integrations.cli.profile.group import About, existing, known, pairs, print_json, profile
from amulet_integrations.cli.profile.sheet import minute, profile_sheet
from amulet_integrations.cli.session import open_store
from amulet_integrations.errors import CorruptProfileError, InvalidProfileError, ProfileError
from amulet_integrations.profiles import PreferenceProfile, ProfileChange, ProfileStore
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import as_utc
from amulet_integrations.profiles.inheritance import line_of


@profile.command(
    epilog=examples(
        "amulet profile show ann",
        "amulet profile show ann --json",
        "amulet profile show ann --version 3",
    )
)
def show(
    user: User,
    version: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="An earlier version.", show_default="the one that holds"
        ),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show a user's profile, with the texts of the preferences."""
    with open_store(db) as store:
        if version is None:
            found = existing(store, user)
        else:
            found = _version(known(store.history(user) or None, user), user, version)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(screen.safe(profile_sheet(found)))


@profile.command("list")
def list_(db: Database = None, as_json: Json = False) -> None:
    """List everyone who has a profile, without the texts of the preferences."""
    with open_store(db) as store:
        everyone = dict(_everyone(store))
    if as_json:
        print_json([_as_json(user, found) for user, found in everyone.items()])
        return
    if not everyone:
        screen.notice('There are no profiles. Make one: amulet profile set USER --prefer "…"')
    names = [Text(screen.one_line(user)) for user in everyone]
    width = max((name.cell_len for name in names), default=0)
    for name, found in zip(names, everyone.values(), strict=True):
        typer.echo(f"{name}{' ' * (width - name.cell_len)}  {_summary(found)}")


@profile.command(
    epilog=examples(
        "amulet profile explain ann",
        "amulet profile explain ann --about topic=health --about locale=de",
        "amulet profile explain ann --at 2027-01-01T00:00+01:00",
    )
)
def explain(
    user: User,
    about: About = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="A moment with a time zone.", show_default="now"),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Tell which preferences of a user hold, which do not and why, and what they come to."""
    moment = datetime.now(UTC) if at is None else _moment(at)
    context = PreferenceContext(pairs("--about", about))
    with open_store(db) as store:
        explanation = Explanation(line_of(existing(store, user), store.get), moment, context)
    if as_json:
        print_json(explanation.as_json())
    else:
        typer.echo(screen.safe(explanation_sheet(explanation)))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"--at {text!r} is no moment; write it as 2027-01-01T00:00+01:00."
        ) from None
    return as_utc("--at", moment)


def _version(changes: list[ProfileChange], user: str, version: int) -> PreferenceProfile:
    change = next((it for it in changes if it.version == version), None)
    if change is not None and change.profile is not None:
        return change.profile
    if change is None:
        why = "does not exist"
    else:
        why = "is a removal" if change.problem is None else f"is damaged: {change.problem}"
    raise ProfileError(
        f"Version {version} of the profile of {user!r} {why}. "
        f"See the versions with: amulet profile history {user}"
    )


def _everyone(store: ProfileStore) -> Iterator[tuple[str, PreferenceProfile | ProfileError]]:
    """Every user and profile; a damaged one hides nobody else's."""
    for user in store.user_ids():
        try:
            yield user, existing(store, user)
        except (CorruptProfileError, InvalidProfileError) as error:
            yield user, error


def _summary(found: PreferenceProfile | ProfileError) -> str:
    if isinstance(found, ProfileError):
        return f"damaged: {screen.one_line(found)}"
    preferences = screen.count(len(found.preferences), "preference")
    return f"{preferences}, version {found.version}, {minute(found.updated_at)}"


def _as_json(user: str, found: PreferenceProfile | ProfileError) -> dict[str, Any]:
    if isinstance(found, ProfileError):
        return {"user_id": user, "error": str(found)}
    return {
        **found.model_dump(mode="json", include={"user_id", "version", "updated_at"}),
        "preferences": len(found.preferences),
    }
