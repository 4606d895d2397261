"""Reading a file that only its owner and root can have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from amulet_integrations.errors import KeyFileError

_ROOT = 0
_DANGER = "They could give themselves any key."
_HAS_OWNERS = hasattr(os, "geteuid")  # not on Windows


class FileVersion(NamedTuple):
    """Differs between two states of a file, also where only its owner or its rights differ."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    mode: int
    owner: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        """The version that belongs to a file's status."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_mode,
            status.st_uid,
        )

    @property
    def others_may_read(self) -> bool:
        """Whether others than the owner and root may read it."""
        return _HAS_OWNERS and bool(self.mode & (stat.S_IRGRP | stat.S_IROTH))


def read_trusted(path: Path) -> tuple[bytes, FileVersion]:
    """Reads a file that nobody but this user and root can have written.

    A link is followed if it is this user's or root's, as for a secret that Kubernetes mounts.

    Returns:
        The content, and the version of the file that it was read from.

    Raises:
        FileNotFoundError: There is no such file.
        KeyFileError: Others may write the file, replace it, or point the link elsewhere; or it is
            no file, or cannot be read.
    """
    try:
        _check_folders(path)
        # A pipe must not wait for somebody who writes into it.
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(opened)
            _check_kind(path, status)
            _check_writers(path, status)
            with os.fdopen(opened, "rb", closefd=False) as file:
                content = file.read()
        finally:
            os.close(opened)
    except (FileNotFoundError, KeyFileError):
        raise
    except OSError as error:
        raise KeyFileError(f"The file of keys {path} cannot be read: {error.strerror}.") from error
    except ValueError:
        raise KeyFileError(f"The path {str(path)!r} contains a NUL character.") from None
    return content, FileVersion.of(status)


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is no file; name the file that the keys are in.")


def _check_writers(path: Path, status: os.stat_result) -> None:
    if not _HAS_OWNERS:
        return
    trusted = {os.geteuid(), _ROOT}
    if status.st_uid not in trusted:
        raise KeyFileError(
            f"The file of keys {path} belongs to another user (id {status.st_uid}). {_DANGER} Run "
            f"this as that user, or: chown {os.geteuid()} {quote(str(path))}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeyFileError(
            f"Others may write the file of keys {path}. {_DANGER} Run: chmod go-w "
            f"{quote(str(path))}"
        )
    if path.lstat().st_uid not in trusted:
        raise KeyFileError(f"The link {path} to the file of keys is another user's. {_DANGER}")


def _check_folders(path: Path) -> None:
    """Refuses folders in which everybody may put another file in the place of this one."""
    if not _HAS_OWNERS:
        return
    for folder in {path.absolute().parent, path.resolve().parent}:
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise KeyFileError(
                f"Others may replace the file of keys {path}, because everybody may write in its "
                f"folder. {_DANGER} Run: chmod o-w {quote(str(folder))}"
            )
