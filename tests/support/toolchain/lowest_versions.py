"""Prints constraints that hold our dependencies to the lowest versions that we claim.

`make test-lowest` installs with them. Dependencies of our dependencies stay free.
Python alone has to do: nothing is installed yet when this runs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Extras of maintainers only, whose versions nobody else has.
TOOLS = frozenset({"docs", "bench", "dist", "lint"})
# PyPI's torch for Linux brings gigabytes of CUDA, so that only the build of constraints.txt is
# tried.
AS_NEWEST = frozenset({"torch"})
_LOWEST = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)")


def lowest_versions() -> dict[str, str]:
    """The lowest version that pyproject.toml claims of each dependency, by its name.

    Raises:
        ValueError: A dependency has no lower bound, or two different ones.
    """
    found: dict[str, str] = {}
    for requirement in _requirements():
        if requirement.startswith("amulet-integrations["):
            continue
        bound = _LOWEST.match(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound. Give it one.")
        name, version = bound["name"], bound["version"]
        if found.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml gives {name} two lower bounds. Give it one.")
    return found


def constraints() -> str:
    """The text of a constraints file for pip."""
    pinned = (line for line in _lines_of_newest() if _name(line) in AS_NEWEST)
    lowest = (
        f"{name}=={version}"
        for name, version in sorted(lowest_versions().items())
        if name not in AS_NEWEST
    )
    return "".join(f"{line}\n" for line in (*lowest, *pinned))


def _requirements() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from project["dependencies"]
    extras: dict[str, Sequence[str]] = project["optional-dependencies"]
    for extra, requirements in extras.items():
        if extra not in TOOLS:
            yield from requirements


def _lines_of_newest() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if "==" in line]


def _name(line: str) -> str:
    return line.partition("==")[0]


if __name__ == "__main__":
    print(constraints(), end="")  # noqa: T201 - what it is run for
