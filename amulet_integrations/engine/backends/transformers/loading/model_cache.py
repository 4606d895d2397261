"""The folder of converted models: whether it can be written, and whether it can be trusted."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from amulet_integrations.errors import ModelCacheError
from amulet_integrations.files import may_write_into, nearest_existing

HOW_TO_MOVE = "Name a folder of your own that can be written, in AMULET_CACHE_DIR."


def check_writable(cache: Path, size: int) -> None:
    """Checks that a model can be written into a folder, which need not exist yet.

    Args:
        cache: The folder.
        size: The bytes that will be written.

    Raises:
        ModelCacheError: The folder cannot be made or written, or the disk is too full.
    """
    exists = nearest_existing(cache)
    if not exists.is_dir():
        raise ModelCacheError(f"{exists} is no folder. {HOW_TO_MOVE}")
    if not may_write_into(exists):
        raise ModelCacheError(f"{exists} cannot be written by this user. {HOW_TO_MOVE}")
    free = shutil.disk_usage(exists).free
    if free < size:
        raise ModelCacheError(
            f"The disk of {exists} has {free >> 20} MB left, and the model takes {size >> 20} MB. "
            f"Free some space. Or: {HOW_TO_MOVE}"
        )


def check_trusted(folder: Path) -> None:
    """Checks who can have put a converted model into the cache.

    That may be this user, root, or the owner of the cache if nobody else can write into the cache.
    Otherwise anybody who may write there, as in `/tmp`, could plant a model.

    Args:
        folder: The folder of the model, or a link to it.

    Raises:
        ModelCacheError: Somebody else owns the folder or the link, or everybody may write there.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return
    cache = folder.parent.stat()
    trusted = {os.geteuid(), 0}
    if not cache.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        trusted.add(cache.st_uid)
    target = folder.stat()
    owners = {folder.lstat().st_uid, target.st_uid}
    if owners <= trusted and not target.st_mode & stat.S_IWOTH:
        return
    what = "may be written by everybody" if owners <= trusted else "belongs to another user"
    raise ModelCacheError(
        f"{folder} {what}, who may have put any model there. Remove it, or let its owner take "
        f"away the right to write. Or: {HOW_TO_MOVE}"
    )
