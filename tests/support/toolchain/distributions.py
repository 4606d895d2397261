"""Checks what is in the distributions, and lists it.

python -m tests.support.toolchain.distributions dist
"""

from __future__ import annotations

import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]

# Of each distribution, its folder and the only folder of its wheel.
FOLDERS = {
    "amulet-integrations": (ROOT, "amulet_integrations"),
    "langchain-amulet": (ROOT / "packages/langchain-amulet", "langchain_amulet"),
    "llama-index-llms-amulet": (
        ROOT / "packages/llama-index-llms-amulet",
        "llama_index/llms/amulet",
    ),
}
# What Python reads, and what pages are made of.
KINDS = {".css", ".j2", ".js", ".py", ".pyi", ".typed"}
MARKS = {".git", ".venv", "__pycache__", "_build", "node_modules"}
_MACHINE = re.compile(rb"/(?:home|Users|root|tmp)/[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Distribution:
    """A built file, and the folder that it was built from.

    Attributes:
        path: A wheel or an sdist.
        name: The distribution's name.
    """

    path: Path
    name: str

    @property
    def is_wheel(self) -> bool:
        return self.path.suffix == ".whl"

    @property
    def source(self) -> Path:
        """The folder that it was built from."""
        return FOLDERS[self.name][0]

    @property
    def files(self) -> Mapping[str, bytes]:
        """What is in it, by path; of an sdist, without the folder around all."""
        return _read(self.path)

    @property
    def metadata(self) -> Message:
        known = re.compile(r"PKG-INFO|.*\.dist-info/METADATA")
        (name,) = filter(known.fullmatch, self.files)
        return message_from_bytes(self.files[name])

    @property
    def content(self) -> dict[str, bytes]:
        """What is installed: the files of a wheel without those that describe it."""
        return {name: data for name, data in self.files.items() if ".dist-info/" not in name}


@cache
def _read(path: Path) -> Mapping[str, bytes]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: file.read()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }


def find(folder: Path) -> list[Distribution]:
    """All distributions in a folder.

    Raises:
        ValueError: A file is none of ours, or one is missing.
    """
    found = [
        Distribution(path, path.name.partition("-")[0].replace("_", "-"))
        for path in sorted(folder.iterdir())
    ]
    have = sorted((each.name, each.is_wheel) for each in found)
    if have != sorted((name, is_wheel) for name in FOLDERS for is_wheel in (False, True)):
        raise ValueError(f"{folder} holds {[path.path.name for path in found]}: not one of each.")
    return found


def faults(distribution: Distribution) -> Iterator[str]:
    """Yields what is wrong with a distribution."""
    yield from _faults_of_metadata(distribution)
    licence = (ROOT / "LICENSE").read_bytes()
    licences = [data for name, data in distribution.files.items() if Path(name).name == "LICENSE"]
    if licence not in licences:
        yield "the licence is missing, or another"
    for name, data in distribution.files.items():
        if MARKS.intersection(Path(name).parts):
            yield f"{name} is no source"
        if distribution.is_wheel and (place := _MACHINE.search(data)):
            yield f"{name} names a place on a machine: {place[0].decode()}"
    if distribution.is_wheel:
        yield from _faults_of_content(distribution)
    else:
        for name in ("README.md", "pyproject.toml"):
            if distribution.files.get(name) != (distribution.source / name).read_bytes():
                yield f"{name} is not that of {distribution.source.name}"
        missing = _sources(distribution).keys() - distribution.files.keys()
        yield from (f"{name} is missing" for name in sorted(missing))


def _faults_of_content(wheel: Distribution) -> Iterator[str]:
    wanted = _sources(wheel)
    for name in sorted(wanted.keys() | wheel.content.keys()):
        if name not in wheel.content:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} does not belong here"
        elif wheel.content[name] != wanted[name]:
            yield f"{name} differs from its source"
    for name in wheel.content:
        if Path(name).suffix not in KINDS:
            yield f"{name} is of an unknown kind"
    if f"{FOLDERS[wheel.name][1]}/py.typed" not in wheel.content:
        yield "py.typed is missing, so that type checkers read no types"


def _sources(distribution: Distribution) -> dict[str, bytes]:
    """What has to be installed, by its path in the wheel."""
    folder = distribution.source / FOLDERS[distribution.name][1]
    return {
        path.relative_to(distribution.source).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _faults_of_metadata(distribution: Distribution) -> Iterator[str]:
    metadata = distribution.metadata
    expected = {
        "Name": distribution.name,
        "Version": version(),
        "License-Expression": "Apache-2.0",
        "License-File": "LICENSE",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    for field, value in expected.items():
        if metadata[field] != value:
            yield f"{field} is {metadata[field]}, not {value}"
    for field in ("Author", "Keywords", "Project-URL", "Summary"):
        if not metadata[field]:
            yield f"{field} is missing"
    if distribution.name != "amulet-integrations":
        ours = [
            requirement
            for requirement in metadata.get_all("Requires-Dist", [])
            if requirement.startswith("amulet-integrations")
        ]
        series = ".".join(version().split(".")[:2])
        if not ours or not all(f"~={series}." in requirement for requirement in ours):
            yield f"it takes {ours}, not amulet-integrations of {series}"


def version() -> str:
    """The version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def main() -> None:
    wrong = False
    for distribution in find(Path(sys.argv[1])):
        lines = [f"{distribution.path.name}: {len(distribution.files)} files"]
        if distribution.is_wheel:
            lines += [f"  {name}" for name in sorted(distribution.files)]
        found = [f"  WRONG: {fault}" for fault in faults(distribution)]
        wrong = wrong or bool(found)
        sys.stdout.write("".join(f"{line}\n" for line in (*lines, *found)))
    sys.exit("The distributions are not as they should be." if wrong else 0)


if __name__ == "__main__":
    main()
