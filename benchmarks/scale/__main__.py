"""What a load needs: memory, cards, database, and what breaks first.

    python -m benchmarks.scale [--users 1e6] [--parameters 8e9] [--bandwidth 4.8e12] [...]
    python -m benchmarks.scale --measure [--profiles 100000]

The first computes docs/scale.md's tables with your numbers. The second measures what they start
from: the size of profiles, reads of the database, and prefix hits by formula and simulation.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.support import machine

from . import profile_sizes
from .formulae import CONTEXTS, Card, Load, Model, hits, make_plan, step_seconds, tokens_a_second
from .prefix_hits import simulate

MODEL = Model(parameters=8.03e9, layers=32, kv_heads=8, head_dim=128)
"""Llama 3.1 8B's config, in bfloat16."""

CARD = Card(memory=141e9, bandwidth=4.8e12, flops=989e12)
"""An NVIDIA H200 by its data sheet: HBM3e, dense bfloat16."""

GB, MB = 1e9, 1e6

EMBEDDED = Model(parameters=135e6, layers=30, kv_heads=3, head_dim=64)
MEASURED = {1: 19.0, 2: 34.1, 4: 50.4, 8: 74.9, 16: 78.9}
"""Tokens a second by users at once: bfloat16, two contexts; docs/performance.md, Many users."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for given in (MODEL, CARD, Load()):
        for it in fields(given):
            default = getattr(given, it.name)
            parser.add_argument(
                f"--{it.name.replace('_', '-')}", type=type(default), default=default
            )
    parser.add_argument("--at-once", type=int, default=64, help="requests that a card decodes")
    parser.add_argument("--busy", type=float, default=0.7, help="share of the time")
    parser.add_argument("--profile-bytes", type=float, default=1_500, help="in the database")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--profiles", type=int, default=100_000, help="to fill a database with")
    given = vars(parser.parse_args())
    if given["measure"]:
        _measure(given["profiles"])
        return
    _print_plan(
        *(
            replace(it, **{field.name: given[field.name] for field in fields(it)})
            for it in (MODEL, CARD, Load())
        ),
        at_once=given["at_once"],
        busy=given["busy"],
        profile_bytes=given["profile_bytes"],
    )


def _print_plan(
    model: Model, card: Card, load: Load, *, at_once: int, busy: float, profile_bytes: float
) -> None:
    print(f"{load}\n{model}\n{card}\n")
    print(f"requests a second at the peak          {load.rate:,.0f}")
    print(f"reads of the database a second         {load.rate:,.0f}")
    print(f"profiles in the database               {load.users * profile_bytes / GB:,.1f} GB")
    print(f"keys and values, bytes a token         {model.kv_bytes:,}")
    prefix = CONTEXTS * (load.prompt + load.answer)
    print(f"kept prefix of a user                  {prefix * model.kv_bytes / MB:,.0f} MB")
    print(
        f"of all users who are active on a day   "
        f"{load.users * load.active * prefix * model.kv_bytes / GB:,.0f} GB"
    )
    print("\nat once | tokens/s | ms a token | cards | kept tokens | met | met, not routed")
    for count in sorted({1, 8, 16, 32, 64, 128, at_once}):
        plan = make_plan(model, card, load, at_once=count, busy=busy)
        mark = "*" if count == at_once else " "
        if plan is None:
            print(f"{count:7}{mark}| a card has no room for the weights and these requests")
            continue
        print(
            f"{count:7}{mark}| {plan.tokens:8,.0f} | {1000 * plan.seconds_a_token:10.1f} | "
            f"{plan.cards:5} | {plan.kept:11,.0f} | {plan.share_met:4.0%} | "
            f"{plan.share_met_unrouted:4.1%}"
        )


def _measure(profiles: int) -> None:
    print(machine.describe())
    print("\nTokens a second of the embedded model, two parameters taken from 1 and 16 users")
    for count, value in _fitted().items():
        print(f"{count:3} users: formula {value:5.1f}, measured {MEASURED[count]:5.1f}")
    print("\nPrefix hits: conversations of 5 turns, 20 requests a second, 4 replicas")
    load = Load()
    rate, replicas = 20.0, 4
    for room in (100_000, 300_000, 1_000_000, 3_000_000):
        shares = [
            *(hits(load, room, rate / replicas, among) for among in (1, replicas)),
            *(simulate(load, room, rate, replicas, routed=routed) for routed in (True, False)),
        ]
        print(
            f"{room:9,} tokens: routed {shares[0]:5.1%} (simulated {shares[2]:5.1%}), "
            f"not routed {shares[1]:5.1%} (simulated {shares[3]:5.1%})"
        )
    print(f"\nA profile in the cache of a process: {profile_sizes.cached_bytes(2_000):,.0f} bytes")
    with tempfile.TemporaryDirectory() as folder:
        sqlite = profile_sizes.sqlite_figures(profiles, Path(folder))
    postgres = profile_sizes.postgres_figures(profiles)
    for name, figures in (("SQLite", sqlite), ("PostgreSQL", postgres)):
        shown = ", ".join(f"{value:,.0f} {what}" for what, value in (figures or {}).items())
        print(f"{name}, {profiles:,} profiles: {shown or 'its server is not installed'}")


def _fitted() -> dict[int, float]:
    """The formula with the bandwidth and the operations that explain the ends of the table."""
    one, sixteen = 1 / MEASURED[1], 16 / MEASURED[16]
    a_row = (sixteen - one) / (CONTEXTS * 15)
    reading = one - CONTEXTS * a_row
    card = Card(
        memory=0,
        bandwidth=EMBEDDED.weight_bytes / reading,
        flops=EMBEDDED.flops / a_row,
        bandwidth_used=1,
        flops_used=1,
    )
    assert abs(step_seconds(EMBEDDED, card, 1, 0) - one) < 1e-9  # noqa: S101 - arithmetic
    return {count: tokens_a_second(EMBEDDED, card, count, 0) for count in MEASURED}


if __name__ == "__main__":
    main()
