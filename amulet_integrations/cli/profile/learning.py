"""`amulet profile learn`: what a user prefers and how strongly, from answers they accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amulet_integrations.cli import screen
from amulet_integrations.cli.options import Database, Json, Model, User, examples, read_max_kl
from amulet_integrations.cli.profile.group import (
    About,
    known,
    operator,
    pairs,
    print_json,
    profile,
    tell_saved,
)
from amulet_integrations.cli.screen import number
from amulet_integrations.cli.session import open_engine, open_store
from amulet_integrations.decoding.strength import MaxKL
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.stores.access import read_whole_profile

if TYPE_CHECKING:
    from amulet_integrations.learning import PreferenceRanking, StrengthEstimate


@profile.command(
    epilog=examples(
        "amulet profile learn ann liked.jsonl",
        "amulet profile learn ann liked.jsonl --dry-run",
        'amulet profile learn ann liked.jsonl --among "Be brief." --among "Explain everything."',
    )
)
def learn(
    user: User,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='JSON lines: {"question": "…", "accepted": "…", "rejected": "…"}.',
            show_default=False,
        ),
    ],
    *,
    among: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Rather tell which of these preferences fits best; repeat for more.",
            show_default=False,
        ),
    ] = None,
    max_kl: Annotated[
        str | None,
        typer.Option(
            metavar="NATS",
            help="The bound on guidance that answers are decoded under, or 'none'.",
            show_default="the profile's, or the default preset's",
        ),
    ] = None,
    about: About = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what was learned and store nothing.")
    ] = False,
    model: Model = "embedded",
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Learn how strongly a user wants their preferences applied, and store it.

    The strength is the guidance scale under which the answers that the user accepted are likeliest
    to the model; nothing is trained. It is stored with the bound that the answers were read under,
    for the two belong together. With --among, candidates for a preference are ranked instead,
    and nothing is stored.
    """
    if among and (about or dry_run):
        raise typer.BadParameter("--among stores nothing and knows no --about; leave those out.")
    context = PreferenceContext(pairs("--about", about))
    bound: MaxKL = "default" if max_kl is None else read_max_kl(max_kl)
    # Brings torch, which `amulet profile show` has no use for.
    from amulet_integrations.learning import (  # noqa: PLC0415
        estimate_strength,
        rank_preferences,
        read_examples,
    )

    found = read_examples(file)
    if among:
        ranking = rank_preferences(open_engine(model), among, found, max_kl=bound)
        _tell_ranking(user, ranking, as_json=as_json)
        return
    with open_store(db) as store:
        whole = known(read_whole_profile(store, user), user)
        estimate = estimate_strength(
            open_engine(model), whole, found, context=context, max_kl=bound
        )
        if as_json:
            print_json(estimate.model_dump(mode="json"))
        else:
            typer.echo(_told(estimate))
        if not dry_run:
            # Another method, also an inherited one, would not read the scale.
            method = {} if whole.method is None else {"method": "amulet"}
            stored = store.update(
                user,
                lambda own: estimate.apply_to(own.model_copy(update=method)),
                by=operator(),
            )
            if not as_json:
                tell_saved(stored)
                if whole.method not in {None, "amulet"}:
                    screen.notice(f"The method is amulet now; it was {whole.method}.")


def _tell_ranking(user: str, ranking: PreferenceRanking, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(ranking))
        return
    for one in ranking.ranked:
        text = "" if one.preference is None else screen.one_line(one.preference.text)
        typer.echo(f"{one.probability:6.1%}  {text}")
    screen.notice(f'To keep one: amulet profile add {screen.one_line(user)} --prefer "…"')


def _told(estimate: StrengthEstimate) -> str:
    low, high = estimate.interval
    bound = estimate.max_kl
    shown = number(bound) if isinstance(bound, float) else bound or "none"
    return (
        f"Guidance scale {number(estimate.guidance_scale)} with max_kl {shown} "
        f"({estimate.level:.0%} between {number(low)} and {number(high)}), from "
        f"{screen.count(estimate.examples, 'answer')} of {estimate.tokens:,} tokens."
    )


def _as_json(ranking: PreferenceRanking) -> dict[str, Any]:
    told = ranking.model_dump(mode="json")
    texts = [one.preference.text if one.preference else None for one in ranking.ranked]
    for one, text in zip(told["ranked"], texts, strict=True):
        one["preference"] = text
    return told
