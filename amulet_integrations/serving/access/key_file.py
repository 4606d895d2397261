"""The file of keys: `amulet keys` changes it, the server reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from filelock import FileLock, Timeout

from amulet_integrations.errors import InvalidParamsError, KeyFileError
from amulet_integrations.files import replace_file
from amulet_integrations.profiles.field_types import checked_label

from .key_records import KeyRecord, KeyRecords, now, parse_records, write_records
from .secret_keys import NewKey, hash_of, make_key
from .trusted_file import FileVersion, read_trusted

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700
_SECONDS_TO_WAIT = 10.0


@dataclass(frozen=True)
class KeyFile:
    """Keys in a JSON file, each as a hash.

    A file that others than its owner and root may write is refused. Changes appear at once or not
    at all, and processes that change it wait for each other.

    Attributes:
        path: The file.
    """

    path: Path

    def read(self) -> KeyRecords:
        """The keys.

        Raises:
            KeyFileError: There is no such file, it is damaged, or others may write it.
        """
        return self.read_version()[0]

    def read_version(self) -> tuple[KeyRecords, FileVersion]:
        """The keys, and the version of the file that they were read from; raises as `read`."""
        try:
            content, version = read_trusted(self.path)
        except FileNotFoundError:
            raise KeyFileError(
                f"There is no file of keys {self.path}. "
                f"Make a key: amulet keys create --user NAME --keys {quote(str(self.path))}"
            ) from None
        return parse_records(content, self.path), version

    def create(self, *, user_id: str | None = None, application: str | None = None) -> NewKey:
        """Makes a key; makes the file too if there is none.

        Args:
            user_id: The user whose key it is.
            application: Or the application whose key it is; it may name any user.

        Returns:
            The key. It cannot be read from the file later.

        Raises:
            InvalidParamsError: Both names are given, or none.
            InvalidProfileError: The name is not valid.
            KeyFileError: The file cannot be read or written.
        """
        if (user_id is None) == (application is None):
            raise InvalidParamsError("A key is of a user or of an application: give one of both.")
        if user_id is not None:
            checked_label("user_id", user_id)
        else:
            checked_label("application", application)
        with self._editing() as (records, save):
            taken = {record.id for record in records.keys}
            key = next(it for it in iter(make_key, None) if it.key_id not in taken)
            record = KeyRecord(
                id=key.key_id,
                user_id=user_id,
                application=application,
                created_at=now(),
                sha256=hash_of(key.text),
            )
            save((*records.keys, record))
        return key

    def revoke(self, wanted: Callable[[KeyRecord], bool]) -> tuple[KeyRecord, ...]:
        """Removes keys; a server that runs refuses them from its next request on.

        Args:
            wanted: Whether a key is to be removed.

        Returns:
            The removed keys.

        Raises:
            KeyFileError: The file cannot be read or written.
        """
        self.read()  # where there is no file, the error says how a key is made
        with self._editing() as (records, save):
            revoked = tuple(record for record in records.keys if wanted(record))
            if revoked:
                gone = {record.id for record in revoked}
                save(tuple(record for record in records.keys if record.id not in gone))
        return revoked

    @contextmanager
    def _editing(self) -> Iterator[tuple[KeyRecords, Callable[[tuple[KeyRecord, ...]], None]]]:
        """Yields the keys and what saves others in their place; nobody else edits meanwhile."""
        try:
            self.path.parent.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
            path = self.path.resolve()
            lock = path.with_name(f".{path.name}.lock")
            with FileLock(lock, timeout=_SECONDS_TO_WAIT, mode=_OWNER_ONLY):
                yield self._read_or_empty(), self._save
        except KeyFileError:
            raise
        except Timeout:
            raise KeyFileError(
                f"Another process has been changing {self.path} for {_SECONDS_TO_WAIT:.0f} s. "
                "Try again when it has ended."
            ) from None
        except OSError as error:
            raise KeyFileError(
                f"The file of keys {self.path} cannot be written: {error.strerror}."
            ) from error

    def _read_or_empty(self) -> KeyRecords:
        try:
            content, _ = read_trusted(self.path)
        except FileNotFoundError:
            return KeyRecords()
        return parse_records(content, self.path)

    def _save(self, records: tuple[KeyRecord, ...]) -> None:
        content = write_records(KeyRecords(keys=records))
        replace_file(self.path, content, durable=True, private=True)
