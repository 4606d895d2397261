"""`amulet profile set`, `add` and `remove`: changing what a user prefers."""

from __future__ import annotations

from typing import Annotated

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import (
    METHODS,
    Database,
    GuidanceScale,
    Iterations,
    MaxKL,
    Preset,
    User,
    examples,
    read_strength,
)
from amulet_integrations.cli.profile.group import (
    existing,
    known,
    operator,
    pairs,
    profile,
    tell_saved,
)
from amulet_integrations.cli.session import open_store
from amulet_integrations.decoding.strength import Method
from amulet_integrations.errors import ProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile


@profile.command(
    "set",
    epilog=examples(
        'amulet profile set ann --prefer "Be concise."',
        'amulet profile set ann --prefer "Be concise." --prefer "No jargon." --preset gentle',
        'amulet profile set ann --prefer "Be concise." --parent everyone',
    ),
)
def set_(
    user: User,
    *,
    prefer: Annotated[
        list[str],
        typer.Option(metavar="TEXT", help="A preference; repeat for more.", show_default=False),
    ],
    guidance_scale: GuidanceScale = None,
    preset: Preset = None,
    max_kl: MaxKL = None,
    iterations: Iterations = None,
    method: Annotated[
        Method | None,
        typer.Option(metavar="METHOD", help=METHODS, show_default="left to the caller"),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="A profile whose preferences hold too, unless one here has the same name.",
            show_default="none",
        ),
    ] = None,
    db: Database = None,
) -> None:
    """Replace a user's profile."""
    made = PreferenceProfile(
        user_id=user,
        preferences=tuple(prefer),
        method=method,
        parent=parent,
        **dict(read_strength(guidance_scale, preset, max_kl, iterations)),
    )
    with open_store(db) as store:
        tell_saved(store.save(made, by=operator()))


@profile.command(
    epilog=examples(
        'amulet profile add ann --prefer "Use lists." --name layout --weight 0.5',
        'amulet profile add ann --prefer "Be gentle." --when topic=health',
        'amulet profile add ann --prefer "I am on holiday." --until 2027-01-07T08:00+01:00',
    )
)
def add(
    user: User,
    *,
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
    when: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="It holds where the call is about this; repeat for more.",
            show_default="always",
        ),
    ] = None,
    valid_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="It holds from then on, such as 2027-01-01T00:00+01:00.",
            show_default="at once",
        ),
    ] = None,
    valid_until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TIME", help="It no longer holds then.", show_default="for good"
        ),
    ] = None,
    db: Database = None,
) -> None:
    """Add one preference to a user's profile, which is made if there is none."""
    preference = Preference.model_validate(
        {
            "text": prefer,
            "weight": weight,
            "name": name,
            "when": pairs("--when", when),
            "valid_from": valid_from,
            "valid_until": valid_until,
        }
    )

    def with_it(before: PreferenceProfile) -> PreferenceProfile:
        return before.model_copy(update={"preferences": (*before.preferences, preference)})

    with open_store(db) as store:
        tell_saved(store.update(user, with_it, by=operator()))


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
    """Remove a user's profile, or one preference of it; the history keeps what was there."""
    if name is not None and number is not None:
        raise typer.BadParameter("--name and --number are given together; give one of them.")

    def without_it(before: PreferenceProfile) -> PreferenceProfile:
        return before.model_copy(update={"preferences": _without(before, name, number)})

    with open_store(db) as store:
        if name is not None or number is not None:
            existing(store, user)
            tell_saved(store.update(user, without_it, by=operator()))
        else:
            known(store.delete(user, by=operator()) or None, user)
            typer.echo(f"Removed the profile of {screen.one_line(user)}.")


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
