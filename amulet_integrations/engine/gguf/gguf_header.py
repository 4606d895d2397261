"""Reads the header of a GGUF file: its metadata and where its tensors are.

The file may be anybody's. So every length is compared with the bytes that are left before anything
is read, counts are bounded, and of arrays only the length is kept unless more is asked for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

from amulet_integrations.errors import ModelNotFoundError, UnsupportedModelError

MAGIC = b"GGUF"

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# Far above those of any model: the largest vocabularies have 300,000 tokens, and templates 100 KB.
_MOST_ENTRIES = 1 << 16
_MOST_TENSORS = 1 << 20
_MOST_STRINGS = 1 << 22
_LONGEST_NAME = 1 << 16
_LONGEST_STRING = 1 << 24
_MOST_DIMENSIONS = 4
_ALIGNMENT = 32  # bytes, where the metadata name no other
_AGAIN = "Download or convert it again."


@dataclass(frozen=True)
class GGUFArray:
    """An array of the metadata.

    Attributes:
        length: The number of elements.
        values: The elements, where they were asked for.
    """

    length: int
    values: tuple[str | int | float | bool, ...] = ()


GGUFValue: TypeAlias = str | int | float | bool | GGUFArray
T = TypeVar("T", str, int, float, bool)


@dataclass(frozen=True)
class GGUFTensor:
    """Where a tensor is.

    Attributes:
        shape: Its sizes, as GGUF orders them: the length of a row first.
        ggml_type: The number of its type in ggml.
        offset: Where it begins, in bytes from the start of the data.
    """

    shape: tuple[int, ...]
    ggml_type: int
    offset: int

    @property
    def elements(self) -> int:
        """The number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says of itself.

    Attributes:
        path: The file.
        size: Its bytes.
        metadata: Its entries.
        tensors: Its tensors, by name.
        data_start: Where the data of tensors begin, in bytes.
        alignment: The bytes that offsets are multiples of.
    """

    path: Path
    size: int
    metadata: Mapping[str, GGUFValue]
    tensors: Mapping[str, GGUFTensor]
    data_start: int
    alignment: int

    @property
    def architecture(self) -> str:
        """The family, such as "llama"; "" where the file names none."""
        return self.value("general.architecture", "")

    def value(self, key: str, default: T) -> T:
        """An entry of the default's type; the default where there is none, or one of another."""
        value = self.metadata.get(key, default)
        return value if type(value) is type(default) else default

    def of_model(self, key: str, default: T) -> T:
        """An entry of the model's family, such as "context_length"."""
        return self.value(f"{self.architecture}.{key}", default)

    @property
    def vocab_size(self) -> int:
        """The number of tokens; 0 where the file has no vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens.length if isinstance(tokens, GGUFArray) else 0


def begins_as_gguf(path: str | Path) -> bool:
    """Whether a file begins as GGUF files do. False where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - takes names that no path can have
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def read_header(path: Path, arrays: Collection[str] = ()) -> GGUFHeader:
    """Reads the header of a file.

    Args:
        path: The file.
        arrays: The entries whose arrays are kept.

    Raises:
        ModelNotFoundError: The file cannot be opened.
        UnsupportedModelError: It is no GGUF file, is of a version that is not read, is cut short,
            or has counts or lengths that no model has.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not arrays:
                return _read_once(path, status.st_size, status.st_mtime_ns)
            return _Reader(path, file, status.st_size, frozenset(arrays)).read()
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror or error}.") from error


@lru_cache(maxsize=64)
def _read_once(path: Path, size: int, modified: int) -> GGUFHeader:  # noqa: ARG001 - part of the key
    """Reads the header of a file that was modified at this time, and remembers it."""
    with path.open("rb") as file:
        return _Reader(path, file, size, frozenset()).read()


class _Reader:
    """Reads one file from its beginning."""

    def __init__(self, path: Path, file: BinaryIO, size: int, arrays: frozenset[str]) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._arrays = arrays

    def read(self) -> GGUFHeader:
        magic = self._file.read(len(MAGIC))
        if magic != MAGIC:
            raise UnsupportedModelError(
                f"{self._path} is no GGUF file: it begins with {magic!r}, not with {MAGIC!r}."
            )
        (version,) = self._unpack("I")
        if version not in _VERSIONS:
            raise UnsupportedModelError(
                f"{self._path} is a GGUF file of version {version:,}. Versions 2 and 3 are read, "
                f"with the lowest byte first. {_AGAIN}"
            )
        tensor_count, entry_count = self._unpack("QQ")
        self._bound("tensors", tensor_count, _MOST_TENSORS, 24)
        self._bound("entries", entry_count, _MOST_ENTRIES, 13)
        metadata = dict(self._entry() for _ in range(entry_count))
        tensors = dict(self._tensor() for _ in range(tensor_count))
        if len(tensors) < tensor_count:
            raise self._damaged(f"two of its {tensor_count:,} tensors have one name")
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {alignment!r}, not a power of two")
        start = -(-self._file.tell() // alignment) * alignment
        return GGUFHeader(self._path, self._size, metadata, tensors, start, alignment)

    def _entry(self) -> tuple[str, GGUFValue]:
        key = self._string(_LONGEST_NAME)
        (kind,) = self._unpack("I")
        if kind == _STRING:
            return key, self._string(_LONGEST_STRING)
        if kind == _ARRAY:
            return key, self._array(key)
        value: int | float | bool = self._unpack(self._format(key, kind))[0]
        return key, value

    def _array(self, key: str) -> GGUFArray:
        kind, length = self._unpack("IQ")
        if kind == _STRING:
            self._bound(f"strings in {key!r:.80}", length, _MOST_STRINGS, 8)
            if key in self._arrays:
                return GGUFArray(length, tuple(self._string(_LONGEST_NAME) for _ in range(length)))
            for _ in range(length):
                self._skip(self._unpack("Q")[0])
            return GGUFArray(length)
        form = self._format(key, kind)
        size = length * struct.calcsize(form)
        if key not in self._arrays:
            self._skip(size)
            return GGUFArray(length)
        if size > self._size - self._file.tell():
            raise self._cut_short(size)
        return GGUFArray(length, self._unpack(f"{length}{form}"))

    def _tensor(self) -> tuple[str, GGUFTensor]:
        name = self._string(_LONGEST_NAME)
        (dimensions,) = self._unpack("I")
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"{name!r:.80} has {dimensions:,} dimensions")
        *shape, kind, offset = self._unpack(f"{dimensions}QIQ")
        return name, GGUFTensor(tuple(shape), kind, offset)

    def _format(self, key: str, kind: int) -> str:
        if kind not in _SCALARS:
            raise self._damaged(f"{key!r:.80} has a value of the unknown kind {kind:,}")
        return _SCALARS[kind]

    def _string(self, longest: int) -> str:
        (length,) = self._unpack("Q")
        if length > longest:
            raise self._damaged(f"it has a string of {length:,} bytes")
        return self._take(length).decode(errors="replace")

    def _unpack(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _take(self, length: int) -> bytes:
        content = self._file.read(length)
        if len(content) < length:
            raise self._cut_short(length)
        return content

    def _skip(self, length: int) -> None:
        if length > self._size - self._file.tell():
            raise self._cut_short(length)
        self._file.seek(length, os.SEEK_CUR)

    def _bound(self, what: str, count: int, most: int, least_size: int) -> None:
        """Refuses a count that is above a limit, or whose things cannot be in the file."""
        if count > most or count * least_size > self._size:
            raise self._damaged(f"it names {count:,} {what}")

    def _cut_short(self, wanted: int) -> UnsupportedModelError:
        return self._damaged(
            f"its header is cut short: at byte {self._file.tell():,} of {self._size:,} there "
            f"should be {wanted:,} more"
        )

    def _damaged(self, problem: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self._path} is a damaged GGUF file: {problem}. {_AGAIN}")
