"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "langchain-huggingface",
    "llama-index-llms-huggingface",
    "llama-cpp-python",
    "langchain-community",
    "llama-index-llms-llama-cpp",
)
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def describe() -> dict[str, str | int]:
    """Its processor, cores and memory, and the versions of what runs on it."""
    return {
        "processor": _after("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory": _after("/proc/meminfo", "MemTotal") or "unknown",
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        **{name: os.environ.get(name, "not set") for name in WAITING},
    }


def _after(file: str, name: str) -> str:
    """The value behind a name in a file of the system."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
