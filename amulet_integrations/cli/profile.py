"""`amulet profile`: what each user prefers, kept in a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import (
    METHODS,
    STRENGTH,
    Database,
    Json,
    User,
    amulet_params,
    examples,
    flowing,
    help_if_alone,
)
from amulet_integrations.cli.session import open_store
from amulet_integrations.cli.sheet import minute, profile_sheet
from amulet_integrations.decoding.methods import Method
from amulet_integrations.errors import CorruptProfileError, InvalidProfileError, ProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile, ProfileStore

profile = typer.Typer(rich_markup_mode="rich")


@profile.callback(
    invoke_without_command=True,
    help=flowing(
        """Keep what each user prefers.

        Profiles are kept in an SQLite file, or in any database given with --db (or AMULET_DB).
        The wrappers for LangChain and LlamaIndex read the same ones: profiles="PATH_OR_URL".
        """
    ),
)
def _profiles(context: typer.Context) -> None:
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
        typer.Option(min=0, metavar="N", help=STRENGTH, show_default="left to the caller"),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(metavar="METHOD", help=METHODS, show_default="left to the caller"),
    ] = None,
    db: Database = None,
) -> None:
    """Replace a user's profile."""
    made = PreferenceProfile(
        user_id=user,
        preferences=tuple(prefer),
        params=amulet_params(iterations),
        method=method,
    )
    with open_store(db) as store:
        _save(store, made)


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
            metavar="W",
            help="1 in full, 0.5 half as strong, below 0 steers away from it.",
        ),
    ] = 1.0,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A label, to remove it by.", show_default=False),
    ] = None,
    db: Database = None,
) -> None:
    """Add one preference to a user's profile, which is made if there is none."""
    preference = Preference(text=prefer, weight=weight, name=name)
    with open_store(db) as store:
        before = store.get(user) or PreferenceProfile(user_id=user)
        _save(store, before.model_copy(update={"preferences": (*before.preferences, preference)}))


@profile.command(epilog=examples("amulet profile show ann", "amulet profile show ann --json"))
def show(user: User, db: Database = None, as_json: Json = False) -> None:
    """Show a user's profile, with the texts of the preferences."""
    with open_store(db) as store:
        found = _existing(store, user)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        typer.echo(screen.safe(profile_sheet(found)))


@profile.command("list")
def list_(db: Database = None, as_json: Json = False) -> None:
    """List everyone who has a profile, without the texts of the preferences."""
    with open_store(db) as store:
        everyone = dict(_everyone(store))
    if as_json:
        _print_json([_as_json(user, found) for user, found in everyone.items()])
        return
    if not everyone:
        screen.notice('There are no profiles. Make one: amulet profile set USER --prefer "…"')
    names = [Text(screen.one_line(user)) for user in everyone]
    width = max((name.cell_len for name in names), default=0)
    for name, found in zip(names, everyone.values(), strict=True):
        typer.echo(f"{name}{' ' * (width - name.cell_len)}  {_summary(found)}")


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
        str | None,
        typer.Option(
            metavar="NAME", help="Remove the preference of this name.", show_default=False
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Remove the preference of this number in `show`.",
            show_default=False,
        ),
    ] = None,
    db: Database = None,
) -> None:
    """Remove a user's profile, or one preference of it."""
    if name is not None and number is not None:
        raise typer.BadParameter("--name and --number are given together; give one of them.")
    with open_store(db) as store:
        if name is not None or number is not None:
            before = _existing(store, user)
            kept = _without(before, name, number)
            _save(store, before.model_copy(update={"preferences": kept}))
        elif store.delete(user):
            typer.echo(f"Removed the profile of {screen.one_line(user)}.")
        else:
            raise _unknown(user)


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
        f"{screen.count(len(stored.preferences), 'preference')}, version {stored.version}."
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


def _everyone(store: ProfileStore) -> Iterator[tuple[str, PreferenceProfile | ProfileError]]:
    """Every user and profile; a damaged one hides nobody else's."""
    for user in store.user_ids():
        try:
            yield user, _existing(store, user)
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


def _print_json(value: object) -> None:
    # JSON escapes the usual control characters, but not those above 127.
    typer.echo(screen.safe(json.dumps(value, ensure_ascii=False, indent=2)))
