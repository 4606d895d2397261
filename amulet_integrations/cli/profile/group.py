"""The group of commands itself, and what several of them need."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import flowing, help_if_alone
from amulet_integrations.errors import ProfileError
from amulet_integrations.profiles import PreferenceProfile, ProfileStore

T = TypeVar("T")

profile = typer.Typer(rich_markup_mode="rich")

About = Annotated[
    list[str] | None,
    typer.Option(
        "--about",
        metavar="NAME=VALUE",
        help="What the call is about, such as topic=health; repeat for more.",
        show_default=False,
    ),
]


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


def existing(store: ProfileStore, user: str) -> PreferenceProfile:
    """The profile of a user.

    Raises:
        ProfileError: There is none.
    """
    return known(store.get(user), user)


def known(found: T | None, user: str) -> T:
    """What was found of a user.

    Raises:
        ProfileError: Nothing was.
    """
    if found is None:
        raise ProfileError(
            f"There is no profile of {user!r}. See who has one with: amulet profile list"
        )
    return found


def tell_saved(stored: PreferenceProfile) -> None:
    """Says what was stored, without a text."""
    typer.echo(
        f"Saved {screen.one_line(stored.user_id)}: "
        f"{screen.count(len(stored.preferences), 'preference')}, version {stored.version}."
    )


def operator() -> str | None:
    """Who runs the command, for the history; None where the system does not know."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return None


def pairs(option: str, given: Sequence[str] | None) -> Mapping[str, str]:
    """Reads NAME=VALUE, given several times.

    Raises:
        typer.BadParameter: One of them is no such pair, or two have one name.
    """
    found: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise typer.BadParameter(f"{option} {pair!r}: write NAME=VALUE, such as topic=health.")
        if name.strip() in found:
            raise typer.BadParameter(f"{option} {name.strip()!r} is given twice.")
        found[name.strip()] = value.strip()
    return found


def print_json(value: object) -> None:
    """Prints a value as JSON that no terminal obeys."""
    # JSON escapes the usual control characters, but not those above 127.
    typer.echo(screen.safe(json.dumps(value, ensure_ascii=False, indent=2)))
