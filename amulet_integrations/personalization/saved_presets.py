"""Strengths that were measured for a model of yours, kept where the wrappers find them.

They lie in one small file, `presets.json`, by the model's fingerprint: the same checkpoint finds
its preset under any name, and another fine-tune under the same name finds none.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from filelock import FileLock
from platformdirs import user_config_path
from pydantic import Field

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.validation import FrozenModel

logger = logging.getLogger(__name__)

PRESETS_FILE = "presets.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class SavedPreset(FrozenModel):
    """A strength that was chosen for a model.

    Attributes:
        guidance_scale: The strength p.
        max_kl: The bound on the divergence from the pref policy, in nats a token; None for none.
        model: What the model was called when it was saved.
        saved_at: When, in ISO 8601; now by default.
        source: Where it is from, in a few words; "from" in the file.

    Raises:
        InvalidParamsError: A value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    guidance_scale: float = Field(allow_inf_nan=False)
    max_kl: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    model: str = ""
    saved_at: str = Field(default_factory=_now)
    source: str = Field(default="", alias="from")

    @property
    def preset(self) -> Preset:
        """The strength itself."""
        return Preset(self.guidance_scale, self.max_kl)


class _Stamp(NamedTuple):
    """What tells one state of a file from the next; every save makes a new file."""

    path: str
    inode: int
    size: int
    changed: int


_NONE: Mapping[str, SavedPreset] = MappingProxyType({})
# In one piece, so that no thread sees the stamp of one state beside the presets of another.
_read: tuple[_Stamp | None, Mapping[str, SavedPreset]] = (None, _NONE)


def presets_path() -> Path:
    """The file: in `AMULET_CONFIG_DIR`, or else in the user's folder of settings."""
    folder = os.environ.get("AMULET_CONFIG_DIR", "").strip()
    if not folder:
        return user_config_path("amulet-integrations") / PRESETS_FILE
    return Path(folder).expanduser() / PRESETS_FILE


def find_preset(fingerprint: str) -> SavedPreset | None:
    """The preset that was saved for a model; None where there is none.

    The file is read again only when it has changed. A damaged one is told once, in the log, and
    holds nothing.

    Args:
        fingerprint: The model's, as `LocalEngine.model_fingerprint` says it.
    """
    return _presets().get(fingerprint)


def has_presets() -> bool:
    """Whether any preset is saved; as cheap as looking at the file."""
    return bool(_presets())


def presets_stamp() -> str:
    """Tells one state of the file from the next; "" where there are no presets."""
    return repr(_read[0]) if _presets() else ""


def save_preset(fingerprint: str, preset: SavedPreset) -> Path:
    """Keeps a preset for a model, in the place of one that it had.

    A file that is damaged is kept beside the new one, as `presets.json.damaged`.

    Args:
        fingerprint: The model's.
        preset: What the wrappers are to use with it.

    Returns:
        The file.

    Raises:
        AmuletError: The file cannot be written.
    """
    with _changing() as entries:
        entries[fingerprint] = preset.model_dump(mode="json", by_alias=True)
    return presets_path()


def forget_preset(fingerprint: str) -> bool:
    """Removes a model's preset.

    Args:
        fingerprint: The model's.

    Returns:
        Whether there was one.

    Raises:
        AmuletError: The file cannot be written.
    """
    if not presets_path().exists():
        return False
    with _changing() as entries:
        return entries.pop(fingerprint, None) is not None


def check_presets_writable() -> None:
    """Refuses to save where nothing can be written, before anything is measured for it.

    Raises:
        AmuletError: The file cannot be written.
    """
    path = presets_path()
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        raise AmuletError(_not_written(path, "it is a folder"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise AmuletError(_not_written(path, f"{there} is not a folder that you may write to"))


def _presets() -> Mapping[str, SavedPreset]:
    global _read  # noqa: PLW0603 - one file for the process
    path = presets_path()
    try:
        found = path.stat()
    except OSError:
        return _NONE
    stamp = _Stamp(str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    if _read[0] != stamp:
        _read = (stamp, MappingProxyType(_valid(path)))
    return _read[1]


def _valid(path: Path) -> dict[str, SavedPreset]:
    """The entries of a file that are presets; what is not is told."""
    try:
        entries = _entries(path)
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s cannot be read, so no saved preset is used: %s", path, error)
        return {}
    presets: dict[str, SavedPreset] = {}
    for fingerprint, entry in entries.items():
        try:
            presets[fingerprint] = SavedPreset.model_validate(entry)
        except AmuletError as error:
            logger.warning("%s: the preset of %.12s is not used: %s", path, fingerprint, error)
    return presets


def _entries(path: Path) -> dict[str, object]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict):
        raise ValueError("it holds no presets by fingerprint")  # noqa: TRY004 - it is damaged
    return entries


@contextmanager
def _changing() -> Iterator[dict[str, object]]:
    """Gives the file's entries to be changed, while no other process changes them."""
    path = presets_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            entries = _entries_or_none(path)
            yield entries
            _replace(path, json.dumps(entries, indent=2) + "\n")
    except OSError as error:
        raise AmuletError(_not_written(path, str(error.strerror))) from error


def _entries_or_none(path: Path) -> dict[str, object]:
    try:
        return _entries(path)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        path.replace(path.with_name(f"{PRESETS_FILE}.damaged"))
        return {}


def _replace(path: Path, text: str) -> None:
    """Whole or not there: nobody who reads the file meanwhile sees half of it."""
    number, unfinished = tempfile.mkstemp(prefix=f"{PRESETS_FILE}.", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).chmod(0o644)  # other users of the machine may share the folder
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _not_written(path: Path, reason: str) -> str:
    return (
        f"The preset cannot be saved in {path}: {reason}. Name a folder that can be written in "
        "AMULET_CONFIG_DIR, or pass guidance_scale= and max_kl= yourself."
    )
