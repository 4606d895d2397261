"""`amulet profile set`, `add` and `remove`: changing what a user prefers."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from amulet_integrations.cli import options, terminal
from amulet_integrations.cli.loading import open_store
from amulet_integrations.cli.options import method_option, option
from amulet_integrations.decoding.strength import Method
from amulet_integrations.errors import ProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile
from amulet_integrations.profiles.preference import PreferenceKind
from amulet_integrations.profiles.stores.description import profile_command

from . import group


@group.profile.command(
    "set",
    epilog=options.examples(
        'amulet profile set ann --preference "Be concise."',
        'amulet profile set ann "Be concise." "No jargon." --preset gentle',
        'amulet profile set ann --preference "Be concise." --parent everyone',
    ),
)
def set_(
    user: options.User,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PREFERENCE", help="The preferences.", show_default=False),
    ] = None,
    *,
    preference: Annotated[
        list[str] | None, option("TEXT", "A preference, as an option; repeat for more.")
    ] = None,
    guidance_scale: options.GuidanceScale = None,
    preset: options.Preset = None,
    max_kl: options.MaxKL = None,
    gate: options.Gate = None,
    iterations: options.Iterations = None,
    method: Annotated[Method | None, method_option(default="left to the caller")] = None,
    parent: Annotated[
        str | None,
        option(
            "USER",
            "A profile whose preferences hold too, unless one here has the same name.",
            default="none",
        ),
    ] = None,
    profiles: options.Profiles = None,
) -> None:
    """Replace a user's profile."""
    preferences = (*(texts or ()), *(preference or ()))
    if not preferences:
        raise typer.BadParameter(f"give at least one preference: {profile_command(user)}")
    replacement = PreferenceProfile(
        user_id=user,
        preferences=preferences,
        method=method,
        parent=parent,
        **dict(options.read_strength(guidance_scale, preset, max_kl, iterations, gate)),
    )
    with open_store(profiles) as store:
        group.print_saved(store.save(replacement, by=group.operator()))


@group.profile.command(
    epilog=options.examples(
        'amulet profile add ann --preference "Use lists." --name layout --weight 0.5',
        'amulet profile add ann --preference "Be gentle." --when topic=health',
        'amulet profile add ann --preference "I am on holiday." --until 2027-01-07T08:00+01:00',
    )
)
def add(
    user: options.User,
    text: Annotated[
        str | None,
        typer.Argument(metavar="PREFERENCE", help="The preference.", show_default=False),
    ] = None,
    *,
    preference: Annotated[str | None, option("TEXT", "The preference, as an option.")] = None,
    weight: Annotated[
        float,
        option(
            "W", "1 in full, 0.5 half as strong, below 0 steers away from it.", min=-1.0, max=1.0
        ),
    ] = 1.0,
    name: Annotated[str | None, option("NAME", "A label, to remove it by.", "--name")] = None,
    when: Annotated[
        list[str] | None,
        option(
            "NAME=VALUE",
            "It holds where the call is about this; repeat for more.",
            default="always",
        ),
    ] = None,
    valid_from: Annotated[
        str | None,
        option(
            "TIME",
            "It holds from then on, such as 2027-01-01T00:00+01:00.",
            "--from",
            default="at once",
        ),
    ] = None,
    valid_until: Annotated[
        str | None, option("TIME", "It no longer holds then.", "--until", default="for good")
    ] = None,
    kind: Annotated[
        PreferenceKind | None,
        option(
            "KIND",
            "What a gate takes it for: style belongs into every answer, topic into some.",
            "--kind",
            default="told by the model",
        ),
    ] = None,
    profiles: options.Profiles = None,
) -> None:
    """Add one preference to a user's profile, which is made if there is none."""
    if (text is None) == (preference is None):
        raise typer.BadParameter(f"give one preference: {profile_command(user, action='add')}")
    added = Preference.model_validate(
        {
            "text": preference if text is None else text,
            "weight": weight,
            "name": name,
            "when": group.parse_pairs("--when", when),
            "valid_from": valid_from,
            "valid_until": valid_until,
            "kind": kind,
        }
    )

    def with_it(before: PreferenceProfile) -> PreferenceProfile:
        return before.model_copy(update={"preferences": (*before.preferences, added)})

    with open_store(profiles) as store:
        group.print_saved(store.update(user, with_it, by=group.operator()))


@group.profile.command(
    epilog=options.examples(
        "amulet profile remove ann",
        "amulet profile remove ann --name layout",
        "amulet profile remove ann --number 2",
    )
)
def remove(
    user: options.User,
    name: Annotated[
        str | None, option("NAME", "Remove the preference of this name.", "--name")
    ] = None,
    number: Annotated[
        int | None, option("N", "Remove the preference of this number in `show`.", min=1)
    ] = None,
    profiles: options.Profiles = None,
) -> None:
    """Remove a user's profile, or one preference of it; the history keeps what was there."""
    if name is not None and number is not None:
        raise typer.BadParameter("--name and --number are given together; give one of them.")

    def without_it(before: PreferenceProfile) -> PreferenceProfile:
        kept = [
            preference
            for place, preference in enumerate(before.preferences, start=1)
            if place != number and (name is None or preference.name != name)
        ]
        if len(kept) == len(before.preferences):
            what = f"is named {name!r}" if number is None else f"has number {number}"
            raise ProfileError(
                f"No preference of {user!r} {what}. "
                f"See them with: amulet profile show {shlex.quote(user)}"
            )
        return before.model_copy(update={"preferences": tuple(kept)})

    with open_store(profiles) as store:
        if name is not None or number is not None:
            group.require(store.get(user), user, store)
            group.print_saved(store.update(user, without_it, by=group.operator()))
        else:
            group.require(store.delete(user, by=group.operator()), user, store)
            typer.echo(f"Removed the profile of {terminal.quoted_if_odd(user)}.")
