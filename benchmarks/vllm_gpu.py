"""All that is to be found out of `VLLMEngine` on a GPU, as one command.

    python -m benchmarks.vllm_gpu [groups eager stock contract] [--shape 8b] [--groups 1 16]

groups    N groups beside 2N plain requests on the same engine, with CUDA graphs; without a bound
          and with one. The weights are random, of the shape of an 8B Llama.
eager     The same without CUDA graphs.
stock     2N plain requests on vLLM as it is by itself.
contract  The contract that all engines keep, and the other tests of this engine, on the model
          runner that vLLM chooses here.

Without words all of them run, each in a process of its own. `--shape tiny` tries the script where
there is no GPU. The process ends with 1 if any of them fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks.support import machine
from benchmarks.support.random_models import SHAPES


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="groups, eager, stock or contract")
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    commands = _commands(arguments)
    if unknown := set(arguments.parts) - commands.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(commands)}")
    print(machine.describe(), flush=True)
    failed: list[str] = []
    for part in arguments.parts or commands:
        ran = [_runs(part, command) for command in commands[part]]  # all of them, whatever fails
        failed += [] if all(ran) else [part]
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll ran.")
    return 1 if failed else 0


def _commands(arguments: argparse.Namespace) -> dict[str, list[list[str]]]:
    measured = ["benchmarks.vllm_groups", "--random", arguments.shape]
    measured += ["--tokens", str(arguments.tokens), "--rounds", str(arguments.rounds)]
    measured += ["--groups", *map(str, arguments.groups)]
    tested = ["pytest", "-q", "-p", "no:cacheprovider"]
    return {
        "groups": [[*measured, "--graphs"]],
        "eager": [measured],
        "stock": [[*measured, "--graphs", "--stock"], [*measured, "--stock"]],
        "contract": [
            [*tested, "tests/contract/test_engine.py", "-k", "vllm"],
            [*tested, "tests/vllm"],
        ],
    }


def _runs(part: str, command: list[str]) -> bool:
    print(f"\n{part}: python -m {' '.join(command)}", flush=True)
    quiet = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    environment = {**quiet, **os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, check=False, env=environment).returncode == 0  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
