"""`amulet keys`: who may use a server, and as whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.cells import cell_len, set_cell_size

from amulet_integrations.errors import KeyFileError
from amulet_integrations.files import with_home
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.access.key_records import KeyRecord
from amulet_integrations.serving.access.secret_keys import ID_LENGTH, key_id_of

from . import terminal
from .options import Json, examples, flowing, help_if_alone, option

KEYS_VARIABLE = "AMULET_KEYS"
"""The environment variable that names the file of keys."""

keys = typer.Typer(rich_markup_mode="rich")

File = Annotated[Path, option("FILE", "The file of keys.", "--keys", envvar=KEYS_VARIABLE)]
OfUser = Annotated[str | None, option("NAME", "The user whose key it is.", "--user")]
OfApplication = Annotated[
    str | None,
    option("NAME", "The application whose key it is; it may name any user.", "--application"),
]


@keys.callback(
    invoke_without_command=True,
    help=flowing(
        """Decide who may use a server, and as whom.

        A key is of a user, and reads and writes that user's profile alone; or it is of an
        application, which may name any user. The file keeps no key, only what a key is checked
        by. A server that runs follows the file.
        """
    ),
)
def _keys(context: typer.Context) -> None:
    help_if_alone(context)


@keys.command(
    epilog=examples(
        "amulet keys create --user ann --keys keys.json",
        "amulet keys create --application web --keys keys.json",
        "KEY=$(amulet keys create --user ann --keys keys.json)",
    )
)
def create(file: File, user: OfUser = None, application: OfApplication = None) -> None:
    """Make a key, and show it: this once, on the last line of the output.

    The file is made if there is none.
    """
    if (user is None) == (application is None):
        raise typer.BadParameter("give one of --user and --application.")
    key = _open(file).create(user_id=user, application=application)
    whose = _whose(user, application)
    terminal.notice(f"Key {key.key_id} of {whose}, in {file}. It is shown this once:")
    typer.echo(key.text)


@keys.command(
    "list",
    epilog=examples(
        "amulet keys list --keys keys.json", "amulet keys list --keys keys.json --json"
    ),
)
def list_(file: File, as_json: Json = False) -> None:
    """List all keys: the id, whose it is, and since when."""
    records = _open(file).read().keys
    if as_json:
        content = [record.model_dump(mode="json", exclude={"sha256"}) for record in records]
        terminal.echo_json(json.dumps(content, ensure_ascii=False, indent=2))
        return
    if not records:
        terminal.notice(f"There are no keys in {file}.")
    owners = [_whose(record.user_id, record.application) for record in records]
    width = max(map(cell_len, owners), default=0)
    for owner, record in zip(owners, records, strict=True):
        typer.echo(f"{record.id}  {set_cell_size(owner, width)}  {record.created_at:%Y-%m-%d}")


@keys.command(
    epilog=examples(
        "amulet keys revoke 3f2a9c41d07b --keys keys.json",
        "amulet keys revoke --user ann --keys keys.json",
    )
)
def revoke(
    file: File,
    key_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The id of the key, as `list` shows it.")
    ] = None,
    user: Annotated[str | None, option("NAME", "All keys of this user.", "--user")] = None,
    application: Annotated[
        str | None, option("NAME", "All keys of this application.", "--application")
    ] = None,
) -> None:
    """Make keys invalid, at once and for good."""
    wanted, what = _wanted(key_id, user, application)
    revoked = _open(file).revoke(wanted)
    if not revoked:
        raise KeyFileError(
            f"There is no key {what} in {file}. "
            f"See all with: amulet keys list --keys {quote(str(file))}"
        )
    for record in revoked:
        typer.echo(f"Revoked key {record.id} of {_whose(record.user_id, record.application)}.")


def _wanted(
    key_id: str | None, user: str | None, application: str | None
) -> tuple[Callable[[KeyRecord], bool], str]:
    """Which keys are meant, and that in words."""
    if sum(it is not None for it in (key_id, user, application)) != 1:
        raise typer.BadParameter("give one of ID, --user and --application.")
    if user is not None:
        return lambda record: record.user_id == user, f"of {_whose(user, None)}"
    if application is not None:
        return lambda record: record.application == application, f"of {_whose(None, application)}"
    # Whoever has a key at hand need not look its id up; it is not repeated in a message.
    wanted = key_id_of(str(key_id)) or str(key_id).strip().lower()
    what = terminal.quoted_if_odd(wanted) if len(wanted) <= ID_LENGTH else "of this id"
    return lambda record: record.id == wanted, what


def _whose(user: str | None, application: str | None) -> str:
    if user is not None:
        return f"user {terminal.quoted_if_odd(user)}"
    return f"application {terminal.quoted_if_odd(str(application))}"


def _open(path: Path) -> KeyFile:
    return KeyFile(with_home(path))
