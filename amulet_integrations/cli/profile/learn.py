"""`amulet profile learn`: what a user prefers and how strongly, from answers they accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amulet_integrations.cli import options, terminal
from amulet_integrations.cli.loading import open_engine, open_store
from amulet_integrations.cli.options import option
from amulet_integrations.cli.terminal import short_number
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.stores.access import read_whole_profile
from amulet_integrations.profiles.stores.description import profile_command

from . import group

if TYPE_CHECKING:
    from amulet_integrations.learning import PreferenceRanking, StrengthEstimate


@group.profile.command(
    epilog=options.examples(
        "amulet profile learn ann liked.jsonl",
        "amulet profile learn ann liked.jsonl --dry-run",
        'amulet profile learn ann liked.jsonl --among "Be brief." --among "Explain everything."',
    )
)
def learn(
    user: options.User,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help='JSON lines: {"question": "…", "accepted": "…", "rejected": "…"}.'
        ),
    ],
    *,
    among: Annotated[
        list[str] | None,
        option("TEXT", "Rank these preferences by how well they fit instead; repeat for more."),
    ] = None,
    max_kl: options.MaxKL = None,
    about: group.About = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what was learned and store nothing.")
    ] = False,
    model: options.Model = "embedded",
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
    profiles: options.Profiles = None,
    as_json: options.Json = False,
) -> None:
    """Learn how strongly a user wants their preferences applied, and store it.

    The strength is the guidance scale under which the answers that the user accepted are likeliest
    to the model; nothing is trained. It is stored with the bound that the answers were read under,
    for the two belong together. With --among, candidates for a preference are ranked instead,
    and nothing is stored.
    """
    if among and (about or dry_run):
        raise typer.BadParameter("--among stores nothing and knows no --about; leave those out.")
    context = PreferenceContext(group.parse_pairs("--about", about))
    bound = options.read_strength(max_kl=max_kl).bound
    # Brings torch, which `amulet profile show` has no use for.
    from amulet_integrations import learning  # noqa: PLC0415

    given = learning.read_examples(file)
    if among:
        engine = open_engine(model, backend, engine_options)
        with terminal.status(_reading(len(given))):
            ranking = learning.rank_preferences(engine, among, given, max_kl=bound)
        _print_ranking(user, ranking, as_json=as_json)
        return
    with open_store(profiles) as store:
        whole = group.require(read_whole_profile(store, user), user, store)
        engine = open_engine(model, backend, engine_options)
        with terminal.status(_reading(len(given))):
            estimate = learning.estimate_strength(
                engine, whole, given, context=context, max_kl=bound
            )
        group.print_result(estimate.model_dump(mode="json"), _describe(estimate), as_json=as_json)
        if dry_run:
            return
        # Another method, also an inherited one, would not read the scale.
        method = {} if whole.method is None else {"method": "amulet"}
        stored = store.update(
            user,
            lambda own: estimate.apply_to(own.model_copy(update=method)),
            by=group.operator(),
        )
        if not as_json:
            group.print_saved(stored)
            if whole.method not in {None, "amulet"}:
                terminal.notice(f"The method is amulet now; it was {whole.method}.")


def _reading(answers: int) -> str:
    return f"Reading {terminal.plural(answers, 'answer')} …"


def _print_ranking(user: str, ranking: PreferenceRanking, *, as_json: bool) -> None:
    content = ranking.model_dump(mode="json")
    for row in content["ranked"]:
        row["preference"] = row["preference"]["text"] if row["preference"] else ""
    if as_json:
        group.print_json(content)
        return
    for row in content["ranked"]:
        typer.echo(f"{row['probability']:6.1%}  {terminal.one_line(row['preference'])}")
    terminal.notice(f"To keep one: {profile_command(user, action='add')}")


def _describe(estimate: StrengthEstimate) -> str:
    low, high = (short_number(end) for end in estimate.interval)
    bound = estimate.max_kl
    shown = short_number(bound) if isinstance(bound, float) else bound or "none"
    return (
        f"Guidance scale {short_number(estimate.guidance_scale)} with max_kl {shown} "
        f"({estimate.level:.0%} between {low} and {high}), from "
        f"{terminal.plural(estimate.examples, 'answer')} of {estimate.tokens:,} tokens."
    )
