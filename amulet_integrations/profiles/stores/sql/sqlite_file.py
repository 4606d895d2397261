"""The file of an SQLite database: it is its owner's alone, and must stay the file that was opened.

SQLite goes on writing into a file that was deleted or replaced. What is stored then is lost when
the process ends.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import URL

from amulet_integrations.errors import ProfileStoreError

from .database_url import is_in_memory, is_sqlite, sqlite_path

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


class SqliteFile:
    """The file, and which file it was when it was opened.

    Args:
        path: The path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, int] | None = None

    @classmethod
    def of(cls, url: URL) -> SqliteFile | None:
        """Returns the file of a database URL; None for a database in memory or on a server."""
        if not is_sqlite(url) or is_in_memory(url):
            return None
        return cls(sqlite_path(url))

    def create(self) -> None:
        """Makes the file and its folder, readable by their owner only; a file that exists stays.

        SQLite gives its other files (`-wal`, `-shm`) the mode of this one.

        Raises:
            OSError: The file cannot be made.
        """
        self.path.parent.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))

    def make_private(self) -> None:
        """Takes the rights of others from a file and a folder that an earlier version made."""
        with suppress(OSError):  # somebody else's
            self.path.parent.chmod(_OWNER_ONLY_FOLDER)
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").chmod(_OWNER_ONLY)

    def check(self, doing: str) -> None:
        """Refuses to work on another file than the one that was there at the first check.

        Raises:
            ProfileStoreError: The file was deleted or replaced.
        """
        found = self._identity()
        if self._opened is None:
            self._opened = found
        if found == self._opened:
            return
        what = "deleted" if found is None else "replaced by another file"
        raise ProfileStoreError(
            f"Cannot {doing} in {self.path}: the file was {what} while the store was open, and "
            "what is written to it would be lost. Put the file back, or open the store anew."
        )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino
