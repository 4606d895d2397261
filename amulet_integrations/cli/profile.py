"""`amulet profile`: what each user prefers, kept in a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import Database, Json, User, examples, help_if_alone
from amulet_integrations.cli.sheet import profile_sheet
from amulet_integrations.decoding import AmuletParams, check_guidance_scale
from amulet_integrations.errors import CorruptProfileError, InvalidProfileError, ProfileError
from amulet_integrations.personalizer import Method
from amulet_integrations.profiles import Preference, PreferenceProfile, ProfileStore

profile = typer.Typer(rich_markup_mode="rich")


@profile.callback(invoke_without_command=True)
def profiles(context: typer.Context) -> None:
    """Keep what each user prefers.

    Profiles are kept in an SQLite file, or in any database given with --db (or AMULET_DB). The
    wrappers for LangChain and LlamaIndex read the same ones with profiles="PATH_OR_URL".
    """
    help_if_alone(context)


@profile.command(
    "set",
    epilog=examples(
        'amulet profile set ann --prefer "Be concise."',
        'amulet profile set ann --prefer "Be concise." --prefer "No jargon." --iterations 10',
    ),
)
def set_(
    user: User,
    prefer: Annotated[
        list[str],
        typer.Option(metavar="TEXT", help="A preference; repeat for more.", show_default=False),
    ],
    iterations: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Strength: updates of Amulet's game; 1, 2, 10, 60 give guidance scale 1.95, "
            "2.46, 3.90, 5.65.",
            show_default="left to the caller",
        ),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How to decode.", show_default="left to the caller")
    ] = None,
    db: Database = None,
) -> None:
    """Replace a user's profile."""
    params = None
    if iterations is not None:
        params = AmuletParams(iterations=iterations)
        check_guidance_scale(params.guidance_scale)
    made = PreferenceProfile(
        user_id=user, preferences=tuple(prefer), params=params, method=method
    )
    _save(open_store(db), made)


@profile.command(
    epilog=examples('amulet profile add ann --prefer "Use lists." --name layout --weight 0.5')
)
def add(
    user: User,
    prefer: Annotated[
        str, typer.Option(metavar="TEXT", help="The preference.", show_default=False)
    ],
    weight: Annotated[
        float,
        typer.Option(
            min=-1.0,
            max=1.0,
            help="1 in full, 0.5 half as strong, below 0 steers away from it.",
        ),
    ] = 1.0,
    name: Annotated[
        str | None, typer.Option(help="A label, to remove it by.", show_default=False)
    ] = None,
    db: Database = None,
) -> None:
    """Add one preference to a user's profile, which is made if there is none."""
    preference = Preference(text=prefer, weight=weight, name=name)
    store = open_store(db)
    before = store.get(user) or PreferenceProfile(user_id=user)
    _save(store, before.model_copy(update={"preferences": (*before.preferences, preference)}))


@profile.command(epilog=examples("amulet profile show ann", "amulet profile show ann --json"))
def show(user: User, db: Database = None, as_json: Json = False) -> None:
    """Show a user's profile, with the texts of the preferences."""
    found = _existing(open_store(db), user)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        typer.echo(screen.safe(profile_sheet(found)))


@profile.command("list")
def list_(db: Database = None, as_json: Json = False) -> None:
    """List everyone who has a profile, without the texts of the preferences."""
    rows = list(_rows(open_store(db)))
    if as_json:
        _print_json(rows)
        return
    if not rows:
        screen.notice('There are no profiles. Make one: amulet profile set USER --prefer "…"')
    users = [screen.one_line(row["user_id"]) for row in rows]
    width = max(map(len, users), default=0)
    for user, row in zip(users, rows, strict=True):
        typer.echo(f"{user:{width}}  {screen.one_line(_told(row))}")


@profile.command(
    epilog=examples(
        "amulet profile remove ann",
        "amulet profile remove ann --name layout",
        "amulet profile remove ann --number 2",
    )
)
def remove(
    user: User,
    name: Annotated[
        str | None, typer.Option(help="Remove the preference of this name.", show_default=False)
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            min=1, help="Remove the preference of this number in `show`.", show_default=False
        ),
    ] = None,
    db: Database = None,
) -> None:
    """Remove a user's profile, or one preference of it."""
    if name is not None and number is not None:
        raise typer.BadParameter("--name and --number are given together; give one of them.")
    store = open_store(db)
    if name is None and number is None:
        if not store.delete(user):
            raise _unknown(user)
        typer.echo(f"Removed the profile of {screen.one_line(user)}.")
        return
    before = _existing(store, user)
    _save(store, before.model_copy(update={"preferences": _without(before, name, number)}))


def open_store(db: str | None) -> ProfileStore:
    """Opens the database of profiles; the default one where none is named.

    Raises:
        ProfileStoreError: It cannot be opened and written.
    """
    from amulet_integrations.profiles import SqlProfileStore  # noqa: PLC0415 - brings SQLAlchemy

    return SqlProfileStore(db)


def count(number: int, noun: str) -> str:
    """Such as "1 preference" or "2 preferences"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _existing(store: ProfileStore, user: str) -> PreferenceProfile:
    found = store.get(user)
    if found is None:
        raise _unknown(user)
    return found


def _unknown(user: str) -> ProfileError:
    return ProfileError(
        f"There is no profile of {user!r}. See who has one with: amulet profile list"
    )


def _save(store: ProfileStore, made: PreferenceProfile) -> None:
    stored = store.save(made)
    typer.echo(
        f"Saved {screen.one_line(stored.user_id)}: "
        f"{count(len(stored.preferences), 'preference')}, version {stored.version}."
    )


def _without(
    found: PreferenceProfile, name: str | None, number: int | None
) -> tuple[Preference, ...]:
    kept = tuple(
        preference
        for place, preference in enumerate(found.preferences, start=1)
        if place != number and (name is None or preference.name != name)
    )
    if len(kept) == len(found.preferences):
        what = f"is named {name!r}" if number is None else f"has number {number}"
        raise ProfileError(
            f"No preference of {found.user_id!r} {what}. "
            f"See them with: amulet profile show {found.user_id}"
        )
    return kept


def _rows(store: ProfileStore) -> Iterator[dict[str, Any]]:
    """What `list` tells of each user; a damaged profile hides nobody else's."""
    for user_id in store.user_ids():
        try:
            found = store.get(user_id)
        except (CorruptProfileError, InvalidProfileError) as error:
            yield {"user_id": user_id, "error": str(error)}
            continue
        if found is not None and found.updated_at is not None:
            yield {
                "user_id": user_id,
                "version": found.version,
                "preferences": len(found.preferences),
                "updated_at": found.updated_at.isoformat(timespec="seconds"),
            }


def _told(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"damaged: {row['error']}"
    return (
        f"{count(row['preferences'], 'preference')}, version {row['version']}, "
        f"of {row['updated_at']}"
    )


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
