"""Strengths that were measured for a model of yours, kept where the wrappers find them.

They are in one small file, `presets.json`, by the model's fingerprint: the same checkpoint finds
its preset under any name, and another fine-tune under the same name finds none.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from platformdirs import user_config_path
from pydantic import Field

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.files import may_write_into, nearest_existing, replace_file, with_home
from amulet_integrations.validation import FrozenModel

logger = logging.getLogger(__name__)

PRESETS_FILE = "presets.json"


class SavedPreset(FrozenModel):
    """A strength that was chosen for a model.

    Attributes:
        guidance_scale: The guidance scale p.
        max_kl: The bound on the divergence from the pref policy, in nats a token; None for none.
        model: The name of the model when the preset was saved.
        saved_at: The time, in ISO 8601; now by default.
        source: Where the preset comes from, in a few words; "from" in the file.

    Raises:
        InvalidParamsError: A value is out of its range.
    """

    error_type: ClassVar[type[AmuletError]] = InvalidParamsError

    guidance_scale: float = Field(allow_inf_nan=False)
    max_kl: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    model: str = ""
    saved_at: str = Field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"),
    )
    source: str = Field(default="", alias="from")

    @property
    def preset(self) -> Preset:
        """The guidance scale and the bound."""
        return Preset(self.guidance_scale, self.max_kl)


def presets_path() -> Path:
    """The file: in `AMULET_CONFIG_DIR`, or else in the user's folder of settings."""
    folder = os.environ.get("AMULET_CONFIG_DIR", "").strip()
    if not folder:
        return user_config_path("amulet-integrations") / PRESETS_FILE
    return with_home(folder) / PRESETS_FILE


def find_preset(fingerprint: str) -> SavedPreset | None:
    """The preset that was saved for a model; None where there is none.

    The file is read again only after it has changed. A damaged file is logged once and counts as
    empty.

    Args:
        fingerprint: The model's, `LocalEngine.model_fingerprint`.
    """
    return _presets().get(fingerprint)


def has_presets() -> bool:
    """Whether any preset is saved; as cheap as looking at the file."""
    return bool(_presets())


def presets_version() -> str:
    """A string that changes with the file; "" where there are no presets."""
    return f"{presets_path()} {_version(presets_path())}" if has_presets() else ""


def save_preset(fingerprint: str, preset: SavedPreset) -> Path:
    """Saves a preset for a model, in place of an earlier one.

    A file that is damaged is kept beside the new one, as `presets.json.damaged`.

    Args:
        fingerprint: The model's.
        preset: The preset that the wrappers use with the model from now on.

    Returns:
        The file.

    Raises:
        AmuletError: The file cannot be written.
    """
    with _editing() as entries:
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
    with _editing() as entries:
        return entries.pop(fingerprint, None) is not None


def check_presets_writable() -> None:
    """Checks that presets can be saved, before anything is measured for them.

    Raises:
        AmuletError: The file cannot be written.
    """
    path = presets_path()
    existing = nearest_existing(path.absolute().parent)
    if path.is_dir():
        raise AmuletError(_not_writable(path, "it is a folder"))
    if not may_write_into(existing):
        reason = f"{existing} is not a folder that you may write to"
        raise AmuletError(_not_writable(path, reason))


def _presets() -> Mapping[str, SavedPreset]:
    version = _version(presets_path())
    return {} if version is None else _read(presets_path(), version)


def _version(path: Path) -> tuple[int, int, int] | None:
    """Differs between states of a file, as every save makes a new one; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def _read(path: Path, version: tuple[int, int, int]) -> Mapping[str, SavedPreset]:  # noqa: ARG001
    """The valid presets of a file in this version; the others are logged."""
    try:
        entries = _parse(path)
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


def _parse(path: Path) -> dict[str, object]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict):
        raise ValueError("it contains no presets by fingerprint")  # noqa: TRY004 - it is damaged
    return entries


@contextmanager
def _editing() -> Iterator[dict[str, object]]:
    """Yields the file's entries and writes them back; other processes wait meanwhile."""
    path = presets_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            entries: dict[str, object] = {}
            if path.exists():
                try:
                    entries = _parse(path)
                except (ValueError, RecursionError):
                    path.replace(path.with_name(f"{PRESETS_FILE}.damaged"))
            yield entries
            text = json.dumps(entries, indent=2) + "\n"
            replace_file(path, text.encode(), durable=True)
    except OSError as error:
        raise AmuletError(_not_writable(path, str(error.strerror))) from error


def _not_writable(path: Path, reason: str) -> str:
    return (
        f"The preset cannot be saved in {path}: {reason}. Name a folder that can be written in "
        "AMULET_CONFIG_DIR, or pass guidance_scale= and max_kl= yourself."
    )
