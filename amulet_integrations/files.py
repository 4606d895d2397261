"""Files that appear whole, texts that are read whole, and folders that may be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from amulet_integrations.errors import AmuletError

_OWNER_ONLY = 0o600
_WRITTEN_BY_OWNER_ONLY = 0o644


def replace_file(
    path: Path, content: bytes, *, durable: bool = False, private: bool = False
) -> None:
    """Replaces a file at once, so that nobody reads half of it.

    Args:
        path: The file; its folder exists. A link stays, and the file that it leads to is replaced.
        content: The new content.
        durable: Whether the content is on the disk before the file has its name.
        private: Whether only the owner may read it. If the file exists, its owner stays who it is,
            and whoever may read it still may; nobody else may write it.

    Raises:
        OSError: It cannot be written.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with _open_private(unfinished) if private else unfinished.open("wb") as file:
            if private:
                _take_over_rights(file.fileno(), path)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:  # the disk is full, say: half a file helps nobody
        unfinished.unlink(missing_ok=True)
        raise


def _open_private(path: Path) -> BinaryIO:
    """Makes a new file that only its owner may read; one that is left over, or a link, goes."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY), "wb")


def _take_over_rights(new: int, old: Path) -> None:
    if not hasattr(os, "fchown"):  # Windows
        return
    try:
        status = old.stat()
    except FileNotFoundError:
        return
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(new, status.st_uid, status.st_gid)
    os.fchmod(new, status.st_mode & _WRITTEN_BY_OWNER_ONLY)


def check_place(path: Path, error: Callable[[str], Exception]) -> None:
    """Refuses a path that no file can have: that of a folder, or one in no folder at all.

    Args:
        path: The path of a file that a user wants to have written.
        error: Makes the error from its message.

    Raises:
        Exception: What `error` makes.
    """
    if path.is_dir():
        raise error(f"{str(path)!r} is a folder. Choose another file, such as one in it.")
    if not (folder := path.resolve().parent).is_dir():
        raise error(
            f"There is no folder {str(folder)!r} for {path.name!r}. Choose another file, or make "
            "the folder first."
        )


def save_file(path: str | os.PathLike[str], content: bytes, error: type[AmuletError]) -> Path:
    """Writes a file where a user wants to have it, whole or not at all.

    Args:
        path: The file; it is replaced at once if it exists.
        content: The content.
        error: The type of the error for a path that no file can have.

    Returns:
        The path.

    Raises:
        AmuletError: Of that type: see `check_place`.
        OSError: The file cannot be written.
    """
    file = Path(path)
    check_place(file, error)
    replace_file(file, content)
    return file


def may_replace(path: Path, beginning: bytes) -> bool:
    """Whether a path is free, or names a file that is empty or of a kind.

    Args:
        path: The path. What is no file, such as a pipe or a device, is not opened.
        beginning: How files of this kind begin, in upper or lower case.
    """
    if not path.exists():
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            found = file.read(len(beginning))
    except OSError:
        return False
    return not found or found.lower() == beginning.lower()


def read_utf8(path: Path, error_type: type[AmuletError]) -> str:
    """Reads a file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        error_type: What to raise; the message names the path and quotes no text.

    Raises:
        AmuletError: Of that type: the file cannot be read, or is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise error_type(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        # Not `from error`: it contains the text.
        raise error_type(
            f"{path} is not in UTF-8 (at byte {error.start}); save it as UTF-8."
        ) from None
    except ValueError:
        raise error_type(f"The path {str(path)!r} contains a NUL character.") from None


def with_home(path: str | Path) -> Path:
    """A path with a home folder in place of ``~`` or ``~user``; as it is if there is none."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # nobody has that name, or nobody can have it
        return Path(path)


def nearest_existing(path: Path) -> Path:
    """The path itself if it exists, or else the nearest folder above it that does."""
    absolute = path.absolute()
    return next(it for it in (absolute, *absolute.parents) if os.path.lexists(it))


def may_write_into(folder: Path) -> bool:
    """Whether a path is a folder in which this user may make files."""
    effective = os.access in os.supports_effective_ids
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)
