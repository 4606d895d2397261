"""Runs the parts of the study; see the package."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import defaults

OUT = Path(__file__).parents[1] / "results" / "defaults"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defaults", description=defaults.__doc__
    )
    parser.add_argument("part", choices=["facts", "screen", "loops", "confirm", "report"])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of answers and tables")
    parser.add_argument("--set-up", choices=["default", "paper"], default="default")
    parser.add_argument("--settings", nargs="+", default=[], help="such as amulet@2,kl=0.2")
    parser.add_argument("--every", type=int, default=1, help="confirm on every nth question")
    parser.add_argument("--rows", type=int, default=48, help="contexts decoded at once")
    parser.add_argument("--all", action="store_true", help="report on confirmed questions")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.part == "report":
        from benchmarks.defaults.report import write_report  # noqa: PLC0415

        print(write_report(asked.out, asked.set_up, confirmed=asked.all))
        return
    _run(asked)


def _run(asked: argparse.Namespace) -> None:
    from benchmarks.defaults import parts  # noqa: PLC0415
    from benchmarks.defaults.settings import Setting  # noqa: PLC0415

    settings = [Setting.read(name) for name in asked.settings]
    with parts.opened(asked.out, asked.rows) as study:
        if asked.part == "facts":
            parts.facts(study, settings)
        elif asked.part == "screen":
            parts.screen(study)
        elif asked.part == "loops":
            parts.loops(study, settings)
        else:
            parts.confirm(study, settings, asked.set_up, asked.every)


if __name__ == "__main__":
    main()
