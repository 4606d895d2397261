"""Where profiles are if nobody names a place: the same for the wrappers and the command line."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from amulet_integrations.caller_warnings import warn_caller

APPLICATION = "amulet-integrations"
"""The name of the folders for the files of this package."""

DEFAULT_PLACE = "default"
"""As `profiles=`: the place that `default_place` returns."""

PLACE_VARIABLE = "AMULET_PROFILES"
"""The environment variable that names a database URL or the path of an SQLite file."""

FORMER_VARIABLE = "AMULET_DB"
"""Its former name on the command line; it works for one release."""


def default_path() -> Path:
    """The SQLite file that is used if no database is named."""
    return Path(platformdirs.user_data_dir(APPLICATION)) / "profiles.db"


def named_place() -> str | None:
    """The place that the environment names; None where it names none. Blank values do not count."""
    if place := os.environ.get(PLACE_VARIABLE, "").strip():
        return None if place == DEFAULT_PLACE else place
    if place := os.environ.get(FORMER_VARIABLE, "").strip():
        warn_caller(
            f"The environment variable {FORMER_VARIABLE} is now called {PLACE_VARIABLE}. The old "
            "name goes with the next release.",
            FutureWarning,
            once=True,
        )
        return place
    return None


def default_place() -> str | Path:
    """The place that the environment names, or else the file in the user's data folder."""
    return named_place() or default_path()


def is_default_place(profiles: object) -> bool:
    """Whether a `profiles=` names the default place, not a database or a file."""
    return isinstance(profiles, str) and profiles == DEFAULT_PLACE


def has_default() -> bool:
    """Whether the environment names a place, or the file in the user's data folder exists."""
    return named_place() is not None or default_path().is_file()
