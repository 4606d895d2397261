"""A pseudo-terminal that the command line runs on, in this process."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

import pytest

import amulet_integrations.engine
from amulet_integrations.cli.app import app

Terminal = Callable[[int], "Screen"]


class Screen:
    """Takes what is written to the terminal; what is typed waits in `typed`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        self._patch = monkeypatch
        self._width = width
        self._parts: list[bytes] = []

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        self._files = [os.fdopen(os.dup(theirs), mode) for mode in ("r", "w", "w")]
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        for name, value in {"COLUMNS": str(self._width), "LINES": "50", "TERM": "xterm"}.items():
            self._patch.setenv(name, value)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()
        self._reader.join(timeout=10)
        os.close(self._ours)

    def run(
        self, engine: object, *args: str, typed: str = "", output: TextIO | None = None
    ) -> object:
        """Runs `amulet`, whose output may go elsewhere, and returns its exit code."""
        os.write(self._ours, typed.encode())
        self._patch.setattr(amulet_integrations.engine, "shared_engine", lambda _: engine)
        typed_in, shown, told = self._files
        files = {"stdin": typed_in, "stdout": output or shown, "stderr": told}
        for name, file in files.items():
            self._patch.setattr(sys, name, file)
        try:
            with pytest.raises(SystemExit) as end:
                app(list(args), prog_name="amulet")
        finally:
            for name in files:
                self._patch.setattr(sys, name, getattr(sys, f"__{name}__"))
        return end.value.code or 0

    @property
    def raw(self) -> str:
        return b"".join(self._parts).decode()

    @property
    def text(self) -> str:
        """All that was ever drawn, without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r", "")

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # Linux says so once nobody holds the other end
                return
            if not part:
                return
            self._parts.append(part)
