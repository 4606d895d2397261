"""What the settings of a server mean where several replicas, on several machines, have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.files import with_home
from amulet_integrations.profiles.stores.default_place import (
    DEFAULT_PLACE,
    PLACE_VARIABLE,
    default_place,
)
from amulet_integrations.profiles.stores.sql.database_url import (
    database_url,
    is_in_memory,
    is_sqlite,
    sqlite_path,
)
from amulet_integrations.serving.settings import ServerSettings

_RAYS_OWN = {
    "host": "http_options.host in Ray Serve's file",
    "port": "http_options.port in Ray Serve's file",
    "send_timeout": "the proxy in front of Ray Serve",
}
"""Settings of a server that listens itself, and what decides in their place."""


def settled(settings: ServerSettings) -> ServerSettings:
    """The settings as all replicas get them.

    Raises:
        InvalidParamsError: One of them decides nothing here, or would mean something else to each
            replica.
        ProfileStoreError: `profiles` is no place for profiles.
    """
    given = settings.model_fields_set
    for name, owner in _RAYS_OWN.items():
        if name in given:
            raise InvalidParamsError(
                f"{name}={getattr(settings, name)!r:.80} decides nothing under Ray Serve. Leave it "
                f"out; its place is taken by {owner}.",
                param=name,
            )
    if settings.keys is None and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        raise InvalidParamsError(
            "Without keys this machine alone is served, and behind HAProxy every request seems to "
            "come from it. Give keys, or unset RAY_SERVE_ENABLE_HA_PROXY.",
            param="keys",
        )
    if isinstance(settings.engine_options.get("hf_token"), str):
        raise InvalidParamsError(
            "engine_options has hf_token, and Ray writes the arguments of applications into its "
            "logs. Leave it out, and set HF_TOKEN in the environment that Ray is started in, on "
            "every machine.",
            param="engine_options",
        )
    for name, path in _files(settings):
        if not path.is_absolute():
            raise InvalidParamsError(
                f"{name}={str(path)!r:.200} is relative, and replicas start in folders of their "
                "own. Give the absolute path.",
                param=name,
            )
    return settings if "profiles_ttl" in given else settings.model_copy(update={"profiles_ttl": 0})


def check_machines(settings: ServerSettings, machines: int) -> None:
    """Refuses profiles in a file where replicas of other machines would not see it.

    Args:
        settings: The settings.
        machines: How many there are in the cluster.

    Raises:
        InvalidParamsError: There are several, and a file.
    """
    if machines < 2 or settings.profiles is None:  # noqa: PLR2004 - one sees its own files
        return
    place = default_place() if settings.profiles == DEFAULT_PLACE else settings.profiles
    if is_sqlite(database_url(place)):
        raise InvalidParamsError(
            f"This Ray cluster has {machines} machines, and each of them would keep profiles of "
            "its own in a file. Give the URL of a PostgreSQL database as profiles, or null for no "
            "profiles.",
            param="profiles",
        )


def _files(settings: ServerSettings) -> Iterator[tuple[str, Path]]:
    """The files that the settings name, as they are written there."""
    if settings.model != EMBEDDED and Path(settings.model).exists():
        yield "model", Path(settings.model)
    if settings.keys is not None:
        yield "keys", with_home(settings.keys)
    place = settings.profiles
    if place is None or place == DEFAULT_PLACE:
        return
    url = database_url(place)  # checked as it will be opened
    if url.password or any("password" in name.lower() for name in url.query):
        raise InvalidParamsError(
            "profiles holds a password, and Ray writes the arguments of applications into its "
            f"logs. Leave profiles out, and set {PLACE_VARIABLE} to the URL in the environment "
            "that Ray is started in, on every machine.",
            param="profiles",
        )
    if not is_sqlite(url):
        return
    if is_in_memory(url):
        raise InvalidParamsError(
            f"profiles={str(place)!r:.80} is in memory, where each replica would keep profiles of "
            "its own. Give a database URL or the absolute path of a file.",
            param="profiles",
        )
    written = str(place)
    yield "profiles", sqlite_path(make_url(written)) if "://" in written else with_home(place)
