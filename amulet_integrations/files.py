"""Files that appear whole, and folders that may be written."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replaces a file at once, so that nobody reads half of it.

    Args:
        path: The file; its folder exists.
        content: The new content.
        durable: Whether the content is on the disk before the file has its name.

    Raises:
        OSError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:  # the disk is full, say: half a file helps nobody
        unfinished.unlink(missing_ok=True)
        raise


def nearest_existing(path: Path) -> Path:
    """The path itself if it exists, or else the nearest folder above it that does."""
    absolute = path.absolute()
    return next(it for it in (absolute, *absolute.parents) if os.path.lexists(it))


def may_write_into(folder: Path) -> bool:
    """Whether a path is a folder in which this user may make files."""
    effective = os.access in os.supports_effective_ids
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)
