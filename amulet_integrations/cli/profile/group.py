"""The group of commands itself, and what several of them need."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

import typer

from amulet_integrations.cli import terminal
from amulet_integrations.cli.options import flowing, help_if_alone, option
from amulet_integrations.errors import ProfileError
from amulet_integrations.profiles import PreferenceProfile, ProfileStore, find_contradictions
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    contradictions_told_otherwise,
)
from amulet_integrations.profiles.stores.description import database_option, describe_store

T = TypeVar("T")

profile = typer.Typer(rich_markup_mode="rich")

About = Annotated[
    list[str] | None,
    option("NAME=VALUE", "What the call is about, such as topic=health; repeat for more."),
]


@profile.callback(
    invoke_without_command=True,
    help=flowing(
        """Keep what each user prefers.

        Profiles are kept in profiles.db in your data folder, or in the database that --profiles or
        AMULET_PROFILES names. The wrappers for LangChain and LlamaIndex read the same ones, unless
        their profiles= names others.
        """
    ),
)
def _profile(context: typer.Context) -> None:
    context.with_resource(contradictions_told_otherwise())  # each command prints them
    help_if_alone(context)


def require(found: T | None, user: str, store: ProfileStore) -> T:
    """What was found of a user in a store.

    Raises:
        ProfileError: Nothing was found.
    """
    if not found:
        raise ProfileError(
            f"There is no profile of {user!r} in {describe_store(store)}. "
            f"See who has one with: amulet profile list{database_option(store)}"
        )
    return found


def print_saved(stored: PreferenceProfile) -> None:
    """Prints what was stored, without a text."""
    typer.echo(
        f"Saved {terminal.quoted_if_odd(stored.user_id)}: "
        f"{terminal.plural(len(stored.preferences), 'preference')}, version {stored.version}."
    )
    tell_contradictions(stored)


def tell_contradictions(profile: PreferenceProfile) -> None:
    """Prints which preferences contradict each other, on stderr; nothing is refused for it."""
    for it in find_contradictions(profile.preferences):
        terminal.notice(f"Of {terminal.quoted_if_odd(profile.user_id)}, {it}.")


def print_result(content: object, text: str, *, as_json: bool) -> None:
    """Prints a result as JSON, or as text."""
    if as_json:
        print_json(content)
    else:
        typer.echo(terminal.safe(text))


def print_json(value: object) -> None:
    """Prints a value as JSON that steers no terminal."""
    terminal.echo_json(json.dumps(value, ensure_ascii=False, indent=2))


def operator() -> str | None:
    """The user of the system who runs the command, for the history; None where it is unknown."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return None


def parse_pairs(option: str, given: Sequence[str] | None) -> Mapping[str, str]:
    """Parses NAME=VALUE, given several times.

    Raises:
        typer.BadParameter: One of them is no such pair, or two have one name.
    """
    pairs: dict[str, str] = {}
    for pair in given or ():
        name, value = (part.strip() for part in pair.partition("=")[::2])
        if not (name and value):
            raise typer.BadParameter(f"{option} {pair!r}: write NAME=VALUE, such as topic=health.")
        if name in pairs:
            raise typer.BadParameter(f"{option} {name!r} is given twice.")
        pairs[name] = value
    return pairs
