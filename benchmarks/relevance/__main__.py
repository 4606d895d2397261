"""Runs the parts of the study; see the package."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import relevance

OUT = Path(__file__).parents[1] / "results" / "relevance"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relevance", description=relevance.__doc__
    )
    parser.add_argument("part", choices=["known", "answers", "signals", "report"])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of answers and tables")
    parser.add_argument("--rows", type=int, default=48, help="contexts decoded at once")
    parser.add_argument(
        "--share",
        type=int,
        nargs=2,
        default=(0, 1),
        metavar=("N", "OF"),
        help="answer one of so many shares, each in a process and a folder of its own",
    )
    parser.add_argument("--most", type=int, help="most neutral questions of a half")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.part == "report":
        from benchmarks.relevance.report import write_report  # noqa: PLC0415

        print(write_report(asked.out))
        return
    _run(asked)


def _run(asked: argparse.Namespace) -> None:
    from benchmarks.relevance import parts  # noqa: PLC0415

    with parts.opened(asked.out, asked.rows) as (engine, study):
        if asked.part == "known":
            parts.known(study)
        elif asked.part == "answers":
            parts.answer_all(study, asked.most, asked.share)
        else:
            from benchmarks.relevance.signals import write_signals  # noqa: PLC0415

            write_signals(asked.out, engine, study.answers)


if __name__ == "__main__":
    main()
