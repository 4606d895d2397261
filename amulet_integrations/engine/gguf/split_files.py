"""The files of a model that is split over several: NAME-00001-of-00003.gguf and so on."""

from __future__ import annotations

import re
from pathlib import Path

from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError

from .gguf_header import GGUFHeader

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MOST_PARTS = 10_000


def part_names(name: str) -> list[str]:
    """The names of all parts of a model, the first being named; a whole model is its one part.

    Raises:
        UnsupportedModelError: Another part than the first is named.
    """
    found = _PART.fullmatch(name)
    if found is None:
        return [name]
    stem, number, count = found["stem"], int(found["number"]), int(found["count"])
    names = [f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]
    if number != 1:
        raise UnsupportedModelError(
            f"{name!r:.200} is part {number:,} of {count:,} of a model. Give the first part, and "
            f"the others are found: {stem}-00001-of-{count:05}.gguf"
        )
    return names


def part_files(header: GGUFHeader) -> list[Path]:
    """The files of the model that a file is, or is the first part of.

    Raises:
        ModelNotFoundError: A part is missing; the message names it.
        UnsupportedModelError: The file is another part than the first, or its name does not say
            where the others are.
    """
    path = header.path
    names = part_names(path.name)
    count = header.value("split.count", 0)
    if count > 1 and count != len(names):
        raise UnsupportedModelError(
            f"{path} is one of {count:,} parts of a model, and its name should end in "
            f"-00001-of-{count:05}.gguf. Name the parts as they were named, so that all are found."
        )
    if count <= 1:
        return [path]
    files = [path.with_name(name) for name in names[:_MOST_PARTS]]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 1:,} more" if missing[1:] else ""
        raise ModelNotFoundError(
            f"{path} is the first of {count:,} parts of a model, and beside it there is no "
            f"{missing[0]}{more}. Download all parts into one folder."
        )
    return files
