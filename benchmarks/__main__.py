"""Runs every benchmark, prints the figures, and writes them to benchmarks/results/."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from benchmarks import grammar, one_user, policy_update, profiles

RESULTS = Path(__file__).parent / "results"

BENCHMARKS: dict[str, Callable[[], dict[str, float]]] = {
    "one user, float32": lambda: one_user.measure("float32"),
    "one user, bfloat16": lambda: one_user.measure("bfloat16"),
    "grammar": grammar.measure,
    f"policy update, {policy_update.VOCABULARY:,} entries": policy_update.measure,
    "reading a profile": profiles.measure,
}


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    print("Medians of 5 interleaved rounds after one to warm up.", machine)
    figures = {}
    wanted = sys.argv[1:]
    for name, measure in BENCHMARKS.items():
        if wanted and not any(word in name for word in wanted):
            continue
        print(f"\n{name}")
        figures[name] = measure()
        for what, value in figures[name].items():
            print(f"  {what:<36}{value:>10.2f}")
    RESULTS.mkdir(exist_ok=True)
    report = RESULTS / "figures.json"
    report.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    print(f"\nWritten to {report}")


if __name__ == "__main__":
    main()
