"""The file of keys: made by `amulet keys`, read by the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .caller import Caller


@dataclass(frozen=True)
class KeyFile:
    """Keys, hashed, in a file.

    Attributes:
        path: The file.
    """

    path: Path

    def find(self, key: str) -> Caller | None:
        """The caller whose key this is; None if it is nobody's."""
        raise NotImplementedError
