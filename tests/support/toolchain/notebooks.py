"""Runs the notebooks of the cookbook, and compares what they show with what they keep.

python -m tests.support.toolchain.notebooks [--write] [NAME …]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path

ROOT = Path(__file__).parents[3]
COOKBOOK = ROOT / "cookbook"
NO_NETWORK = ROOT / "tests/support/no_network"

SECONDS = 600
"""The most that a cell may take."""

AT_ONCE = 2
LARGEST_OUTPUT = 20_000
LARGEST_NOTEBOOK = 100_000

VARIES = "varies"
"""The tag of a cell whose output differs between processors, as that of a model does. Its metadata
may have a list `says`: what the output holds everywhere."""

_MACHINE = re.compile(r"(?:/(?:home|Users|root|tmp|var|opt|srv|mnt)|[A-Z]:\\Users)[/\\][\w.-]+")
_PROGRESS = re.compile(r"\d+%\||\bit/s\b|\r")


@dataclass
class Run:
    """A notebook that was run.

    Attributes:
        notebook: With what its cells showed now.
        faults: What is wrong with it, each in a line.
        seconds: How long it took.
        ended: Whether all of its cells were run.
    """

    notebook: NotebookNode
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False


def read(path: Path) -> NotebookNode:
    """Reads a notebook.

    Raises:
        nbformat.ValidationError: It is none.
    """
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: NotebookNode) -> str:
    """What a cell shows as text; of other outputs their kinds."""
    return "".join(_shown(cell))


def _shown(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        data = output.get("data", {})
        yield output.get("text", "") or data.get("text/plain", "")
        yield from (f"<{kind}>" for kind in sorted(data) if kind != "text/plain")


def _written(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        yield output.get("text", "")
        yield from map(str, output.get("data", {}).values())


def form_faults(notebook: NotebookNode) -> list[str]:
    """What a reader of the kept notebook would stumble over."""
    first, last = notebook.cells[0], notebook.cells[-1]
    found = []
    begins = re.match(r"# .+\n\n\*\*You will see\*\* ", first.source)
    if first.cell_type != "markdown" or not begins:
        found.append("it does not begin with a title, and then **You will see** …")
    if last.cell_type != "markdown" or not last.source.startswith("## What to try next\n"):
        found.append("it does not end with the section What to try next")
    if len(nbformat.writes(notebook)) > LARGEST_NOTEBOOK:
        found.append(f"it has more than {LARGEST_NOTEBOOK:,} characters")
    for cell in code_cells(notebook):
        found += (f"{_place(cell)}: {fault}" for fault in _output_faults(cell))
    return found


def _output_faults(cell: NotebookNode) -> Iterator[str]:
    written = "\n".join(_written(cell))
    if len(written) > LARGEST_OUTPUT:
        yield f"its output has {len(written):,} characters, and may have {LARGEST_OUTPUT:,}"
    if path := _MACHINE.search(written):
        yield f"its output holds {path[0]}, a path of one machine"
    for output in cell.outputs:
        if output.get("name") == "stderr":
            yield f"it warns: {output.text.strip()[-400:]}"
        elif output.output_type == "error":
            yield f"it fails: {output.ename}: {output.evalue}"
        elif _PROGRESS.search(output.get("text", "")):
            yield "its output holds a progress bar"


def differences(kept: NotebookNode, run: NotebookNode) -> list[str]:
    """Where a run shows something else than was kept."""
    found = []
    for before, now in zip(code_cells(kept), code_cells(run), strict=True):
        tags = before.metadata.get("tags", [])
        says = before.metadata.get("says", [])
        if VARIES in tags:
            if bool(shown(before).strip()) != bool(shown(now).strip()):
                found.append(f"{_place(now)}: shows {shown(now)!r}, and kept {shown(before)!r}")
            found += (
                f"{_place(now)}: {which} lacks {text!r}: {shown(cell)!r}"
                for which, cell in (("what is kept", before), ("what it shows", now))
                for text in says
                if text not in shown(cell)
            )
        elif shown(before) != shown(now):
            new, old = _indented(shown(now)), _indented(shown(before))
            found.append(f"{_place(now)}: shows\n{new}\nand kept\n{old}")
    return found


def _place(cell: NotebookNode) -> str:
    return f"cell {cell.id!r}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel, which is the interpreter that runs this, wherever it is."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


async def run_notebook(kept: NotebookNode, folder: Path, home: Path) -> Run:
    """Runs a notebook as it was kept.

    Args:
        kept: The notebook. It is not changed.
        folder: Where it stands, with the files that it reads.
        home: Where its process may write settings and profiles of its own.

    Returns:
        The notebook with its new outputs, and the faults of these.
    """
    run = Run(deepcopy(kept))
    for cell in code_cells(run.notebook):
        cell.outputs, cell.execution_count = [], None
    kernels = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=ThisInterpreter(),
        transport="ipc",  # over TCP, a kernel warns that others could listen
        ip=str(home / "kernel"),
    )
    client = NotebookClient(
        run.notebook,
        km=kernels,
        timeout=SECONDS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    begun = time.monotonic()
    try:
        # The kernel ends with its notebook, and not with this process.
        await client.async_execute(cleanup_kc=True, env=_environment(folder, home))
        run.ended = True
    except CellExecutionError:
        pass  # it stands among the outputs
    except (CellTimeoutError, DeadKernelError) as error:
        run.faults.append(f"it was not run to its end: {str(error).strip()[-800:]}")
    run.seconds = time.monotonic() - begun
    run.faults += form_faults(run.notebook)
    return run


def _environment(folder: Path, home: Path) -> dict[str, str]:
    """No network, and nothing of what the one who runs this has set up."""
    threads = max(1, (os.cpu_count() or 1) // AT_ONCE)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    if "AMULET_CACHE_DIR" in os.environ:
        ours["AMULET_CACHE_DIR"] = os.environ["AMULET_CACHE_DIR"]
    return ours | {
        "AMULET_CONFIG_DIR": str(home / "config"),
        "AMULET_PROFILES": str(home / "profiles.db"),
        "IPYTHONDIR": str(home / "ipython"),
        "OMP_NUM_THREADS": str(threads),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join(map(str, (NO_NETWORK, folder, ROOT))),
    }


async def run_all(paths: Sequence[Path]) -> dict[Path, Run]:
    """Runs notebooks, two at a time, in a copy of the cookbook; reports each as it ends."""
    free = asyncio.Semaphore(AT_ONCE)

    async def run_one(path: Path) -> Run:
        async with free:
            with tempfile.TemporaryDirectory(prefix="cookbook-") as made:
                copied, home = Path(made) / "cookbook", Path(made) / "home"
                home.mkdir()
                shutil.copytree(path.parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
                before = _files(copied)
                run = await run_notebook(read(path), copied, home)
                run.faults += (f"it leaves {name}" for name in sorted(_files(copied) - before))
            _say(f"{path.name}: {run.seconds:.0f} s")
            return run

    return dict(zip(paths, await asyncio.gather(*map(run_one, paths)), strict=True))


def _files(folder: Path) -> set[str]:
    found = (str(file.relative_to(folder)) for file in folder.rglob("*"))
    return {name for name in found if "__pycache__" not in name}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Runs the notebooks of the cookbook.")
    parser.add_argument("names", nargs="*", help="beginnings of the names of notebooks, as 1 or 3_")
    parser.add_argument("--write", action="store_true", help="keep what they show now")
    options = parser.parse_args(arguments)
    paths = [
        path
        for path in sorted(COOKBOOK.glob("*.ipynb"))
        if not options.names or path.name.startswith(tuple(options.names))
    ]
    if not paths:
        parser.error(f"no notebook begins with {' or '.join(options.names)}")
    embedded_model_path()  # converted here, so that no notebook has to say that it converts it
    failed = False
    for path, run in asyncio.run(run_all(paths)).items():
        faults = [*run.faults]
        if run.ended and options.write:
            nbformat.write(run.notebook, path)
        elif run.ended:
            faults += differences(read(path), run.notebook)
        for fault in faults:
            _say(f"{path.name}: {fault}")
        failed = failed or bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
