"""The keys as a running server knows them; it follows the file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from amulet_integrations.errors import KeyFileError
from amulet_integrations.serving.server_threads import SERVER_THREADS

from .caller import Caller
from .key_file import KeyFile
from .key_records import KeyRecord
from .secret_keys import is_key, key_id_of
from .trusted_file import FileVersion

logger = logging.getLogger(__name__)

_NO_KEYS: Mapping[str, KeyRecord] = MappingProxyType({})
_SETTLED_AFTER = 0.1  # seconds; two changes within one tick of the clock look alike


class _Snapshot(NamedTuple):
    """What was read of the file.

    Attributes:
        records: The keys by their ids.
        version: The version of the file; None where it could not even be looked at.
        is_settled: Whether any later change makes another version; not directly after a change.
        fault: Why the file cannot be used; None where it can.
    """

    records: Mapping[str, KeyRecord]
    version: FileVersion | None
    is_settled: bool
    fault: str | None = None


class KnownKeys:
    """The keys of a file, read again when the file has changed.

    A request costs one `stat` of the file. While the file cannot be used, no key is valid.

    Args:
        file: The file.

    Raises:
        KeyFileError: There is no such file, it is damaged, or others may write it.
    """

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._snapshot = self._read()
        self._warn_of_readers()
        if not self._snapshot.records:
            logger.warning("The file of keys %s contains no key yet.", file.path)

    def find(self, key: str) -> Caller | None:
        """The caller whose key this is; None if it is nobody's.

        Raises:
            KeyFileError: The file cannot be used now, so that no key is valid.
        """
        if not self._is_current():
            self._follow()
        return self._match(key)

    async def afind(self, key: str) -> Caller | None:
        """As `find`; the event loop goes on while a changed file is read."""
        if not self._is_current():
            await SERVER_THREADS.start(self._follow, may_be_left=True)
        return self._match(key)

    def _match(self, key: str) -> Caller | None:
        snapshot = self._snapshot
        if snapshot.fault is not None:
            raise KeyFileError(snapshot.fault)
        record = snapshot.records.get(key_id_of(key) or "")
        if not is_key(key, None if record is None else record.sha256) or record is None:
            return None
        return Caller(key_id=record.id, user_id=record.user_id)

    def _is_current(self) -> bool:
        snapshot = self._snapshot
        return snapshot.is_settled and snapshot.version == self._version_now()

    def _version_now(self) -> FileVersion | None:
        try:
            return FileVersion.of(self._file.path.stat())
        except OSError:
            return None

    def _follow(self) -> None:
        """Reads the file if it has changed."""
        with self._lock:
            if self._is_current():
                return
            before = self._snapshot
            version = self._version_now()
            try:
                self._snapshot = self._read()
            except KeyFileError as error:
                self._snapshot = _Snapshot(_NO_KEYS, version, _settled(version), str(error))
            self._report(before)

    def _report(self, before: _Snapshot) -> None:
        """Logs what a change of the file changes for the server."""
        fault = self._snapshot.fault
        if fault is not None:
            if fault != before.fault:
                logger.error("No key is valid until this is mended. %s", fault)
            return
        if before.fault is not None:
            logger.warning("The file of keys %s can be used again.", self._file.path)
        if before.version is None or not before.version.others_may_read:
            self._warn_of_readers()

    def _read(self) -> _Snapshot:
        records, version = self._file.read_version()
        return _Snapshot({it.id: it for it in records.keys}, version, _settled(version))

    def _warn_of_readers(self) -> None:
        version, path = self._snapshot.version, self._file.path
        if version is not None and version.others_may_read:
            logger.warning(
                "Others may read the file of keys %s: it names users and holds hashes of keys. "
                "Run: chmod go-r %s",
                path,
                path,
            )


def _settled(version: FileVersion | None) -> bool:
    """Whether a change that comes now would differ from this one in its time."""
    return version is None or not 0 <= time.time() - version.changed / 1e9 < _SETTLED_AFTER
