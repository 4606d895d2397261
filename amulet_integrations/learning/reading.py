"""Examples from a file of JSON lines."""

from __future__ import annotations

import json
import os
from pathlib import Path

from amulet_integrations.errors import AmuletError, EvidenceError, UnknownArgumentError
from amulet_integrations.learning.example import Example, unknown_names


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """Reads examples, one JSON object on each line; blank lines are passed over.

    Args:
        path: A file in UTF-8, with lines such as
            ``{"question": "...", "accepted": "...", "rejected": "..."}``. The names are those of
            `Example`; a question may also be a list of ``{"role": ..., "content": ...}``.

    Returns:
        The examples, in the order of the lines.

    Raises:
        EvidenceError: The file cannot be read or has no examples, or a line is no example. The
            message names file, line and field, and quotes no text.
        UnknownArgumentError: A line has a name that `Example` does not have. It is told only if it
            is close to a known one.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise EvidenceError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        # Not `from error`: it holds the text.
        raise EvidenceError(
            f"{file} is not in UTF-8 (at byte {error.start}); save it as UTF-8."
        ) from None
    except ValueError:
        raise EvidenceError("The path of the examples holds a NUL character.") from None
    read = [_example(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise EvidenceError(f"{file} has no examples; give one JSON object on each line.")
    return read


def _example(file: Path, number: int, line: str) -> Example:
    place = f"{file}, line {number}"
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvidenceError(
            f"{place}: not JSON ({error.msg} at column {error.colno}); give one object a line."
        ) from None
    except (ValueError, RecursionError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else "a number too long"
        raise EvidenceError(f"{place}: JSON that is not read ({told}).") from None
    if not isinstance(fields, dict):
        raise EvidenceError(
            f"{place}: a {type(fields).__name__}; give an object with question and accepted or "
            "rejected."
        )
    if unknown := unknown_names(Example, fields):
        raise UnknownArgumentError(f"{place}: {unknown}")
    try:
        return Example(**fields)
    except AmuletError as error:
        raise type(error)(f"{place}: {error}") from None
