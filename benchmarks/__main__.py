"""Runs benchmarks, prints their figures, and writes them and their plots to benchmarks/results/.

    python -m benchmarks [word ...] [--quick] [--list]

Words choose benchmarks by what is in their names. `--quick` tries all with a few tokens: its
figures mean nothing and go into a folder of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.suite import SUITE, measure, select_benchmarks
from benchmarks.support import machine, report
from benchmarks.support.plots import write_plots
from benchmarks.support.timing import FULL, QUICK, Effort, Figures

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("words", nargs="*", help="what the benchmarks' names have in them")
    parser.add_argument("--quick", action="store_true", help="try all with a few tokens")
    parser.add_argument("--list", action="store_true", help="show the benchmarks' names")
    arguments = parser.parse_args()
    names = select_benchmarks(arguments.words)
    if arguments.list or not names:
        print("Benchmarks:", *SUITE, sep="\n  ")
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    is_said = not os.environ.keys().isdisjoint(machine.WAITING)
    effort, folder = (QUICK, RESULTS / "quick") if arguments.quick else (FULL, RESULTS)
    print("Medians of interleaved rounds, [least to most].", machine.describe())
    for name in names:
        if not is_said:
            _set_waiting(name)
        _run(name, effort, folder, machine.describe())


def _set_waiting(name: str) -> None:
    """How threads wait where the figures are measured; see docs/performance.md."""
    if name.startswith("llama cpp"):  # as everybody has it who runs llama.cpp
        os.environ.pop("GOMP_SPINCOUNT", None)
    else:
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _run(name: str, effort: Effort, folder: Path, here: dict[str, str | int]) -> None:
    print(f"\n{name}", flush=True)
    started = time.perf_counter()
    try:
        figures = _in_own_process(name, effort)
    except Exception as error:  # noqa: BLE001 - the others are still to be measured
        print(f"  Failed: {type(error).__name__}: {error}")
        return
    seconds = time.perf_counter() - started
    if not figures:
        return
    print(*report.format_lines(name, figures), sep="\n")
    plots = list(write_plots(name, SUITE[name].plots, figures, folder))
    path = report.save(name, figures, seconds, here, folder)
    print(f"  {seconds:.0f} s. Written:", path, *plots, flush=True)


def _in_own_process(name: str, effort: Effort) -> Figures:
    """Measured where nothing has used torch before, and nothing of it stays behind."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(measure, name, effort).result()


if __name__ == "__main__":
    main()
