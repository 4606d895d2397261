"""Exports profiles from any store to a file, and imports them into any store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.errors import (
    AmuletError,
    CorruptProfileError,
    InvalidProfileError,
    ProfileLimitError,
    UnknownArgumentError,
)
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.inheritance import line_of, parent_changed
from amulet_integrations.profiles.preference import Preference
from amulet_integrations.profiles.profile import PreferenceProfile, ProfileChange
from amulet_integrations.profiles.profile_limits import ProfileLimits, limits_of

from .access import read_profile
from .base import ProfileStore

Model = TypeVar("Model", bound=BaseModel)

FORMAT = "amulet-profiles"
FORMAT_VERSION = 1

_KINDS: dict[type, str] = {
    type(None): "missing or null",
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "a string",
}
_FIELDS = ("format", "format_version", "exported_at", "profiles", "history")


def export_profiles(store: ProfileStore, user_ids: Iterable[str] | None = None) -> str:
    """Writes profiles as JSON, for `import_profiles` and for people.

    Args:
        store: The store to read.
        user_ids: The users; None for all.

    Returns:
        JSON: ``{"format": "amulet-profiles", "format_version": 1, "exported_at": …,
        "profiles": […]}``. It contains the texts of the preferences.

    Raises:
        InvalidProfileError: A user id is not valid, or has no profile.
        ProfileError: The store fails.
    """
    wanted = store.user_ids() if user_ids is None else checked_user_ids(user_ids)
    found = {user_id: read_profile(store, user_id) for user_id in wanted}
    profiles = [profile for profile in found.values() if profile is not None]
    if user_ids is not None:
        check_found(wanted, {profile.user_id for profile in profiles})
    return to_json(profiles)


def import_profiles(store: ProfileStore, text: str) -> list[PreferenceProfile]:
    """Stores the profiles of a file; each becomes a new version of that user's profile.

    The whole file is checked before the first profile is stored. If the store fails on the way,
    the profiles before stay stored. As when it is saved, a profile may go on to exceed a limit that
    the stored one exceeds, and keep a parent that is no longer allowed.

    Args:
        store: The store to write.
        text: The file, as `export_profiles` writes it. A history in it is not imported.

    Returns:
        The profiles as stored, in the order of the file.

    Raises:
        ProfileLimitError: A profile exceeds a limit of the store, or its parent may not be one.
        InvalidProfileError: The file has another format, or a profile in it is not valid, or the
            parents form a circle. The message names the place, such as
            ``profiles[3].preferences[0].weight``, and quotes no preference.
        ProfileError: The store fails.
    """
    profiles = from_text(text)
    order = checked_order(profiles, partial(read_profile, store), limits_of(store))
    stored = {profile.user_id: store.save(profile) for profile in order}
    return [stored[profile.user_id] for profile in profiles]


def checked_user_ids(user_ids: Iterable[str]) -> list[str]:
    """Checks the users to export, and returns them sorted and without repetitions.

    Raises:
        InvalidProfileError: `user_ids` is a single string, or contains an invalid user id.
    """
    if isinstance(user_ids, str):
        raise InvalidProfileError("user_ids is a string; give a list of user ids.")
    return sorted({checked_label("user_id", user_id) for user_id in user_ids})


def check_found(wanted: Iterable[str], found: set[str]) -> None:
    """Refuses to leave out a user silently.

    Raises:
        InvalidProfileError: Nothing was found for a user.
    """
    for user_id in wanted:
        if user_id not in found:
            raise InvalidProfileError(
                f"There is nothing to export of user_id={user_id!r}. Leave it out."
            )


def to_json(
    profiles: Iterable[PreferenceProfile], history: Iterable[ProfileChange] | None = None
) -> str:
    """Writes the file; the history only if it is given."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "exported_at": datetime.now(UTC).isoformat(),
        "profiles": [profile.model_dump(mode="json") for profile in profiles],
    }
    if history is not None:
        document["history"] = [change.model_dump(mode="json") for change in history]
    return json.dumps(document, ensure_ascii=False, indent=2)


def from_text(text: str) -> list[PreferenceProfile]:
    """Reads the file: profiles of version 0, which replace whatever is stored.

    Raises:
        InvalidProfileError: See `import_profiles`.
    """
    document = _document(text)
    items = document.get("profiles")
    if not isinstance(items, list):
        raise InvalidProfileError(f"profiles is {_kind(items)}; give a list of profiles.")
    profiles = [profile_from_json(f"profiles[{place}]", item) for place, item in enumerate(items)]
    places: dict[str, int] = {}
    for place, profile in enumerate(profiles):
        first = places.setdefault(profile.user_id, place)
        if first != place:
            raise InvalidProfileError(
                f"profiles[{place}].user_id={profile.user_id!r} is that of profiles[{first}] too; "
                "give each user one profile."
            )
    return profiles


def checked_order(
    profiles: Sequence[PreferenceProfile],
    read: Callable[[str], PreferenceProfile | None],
    limits: ProfileLimits,
) -> list[PreferenceProfile]:
    """Checks profiles as if each was saved, and orders them: parents before their children.

    Args:
        profiles: The profiles to be stored.
        read: Returns the stored profile of an id, or None.
        limits: What profiles must not exceed, and which may be parents.

    Raises:
        ProfileLimitError: A profile exceeds a limit, or a parent may not be one.
        InvalidProfileError: Once they are stored, parents would form a circle or too long a line.
    """
    imported = {it.user_id: it for it in profiles}
    stored = cache(read)

    def look_up(user_id: str) -> PreferenceProfile | None:
        return imported.get(user_id) or stored(user_id)

    def earlier(user_id: str) -> PreferenceProfile | None:
        try:
            return stored(user_id)
        except CorruptProfileError:  # which is replaced as if it was nothing
            return None

    for place, profile in enumerate(profiles):
        try:
            limits.check_saved(profile, partial(earlier, profile.user_id))
        except ProfileLimitError as error:
            raise ProfileLimitError(f"profiles[{place}]: {error}") from None
    for profile in profiles:
        try:
            line_of(profile, look_up, limits)
        except InvalidProfileError:
            if parent_changed(profile, earlier(profile.user_id)):
                raise
    return list(_parents_first(imported))


def _parents_first(profiles: Mapping[str, PreferenceProfile]) -> Iterator[PreferenceProfile]:
    """Yields profiles by user id so that each one follows its parent; a circle ends somewhere."""
    waiting = dict(profiles)
    while waiting:
        line = [next(iter(waiting.values()))]
        del waiting[line[0].user_id]
        while (parent := waiting.pop(line[-1].parent or "", None)) is not None:
            line.append(parent)
        yield from reversed(line)


def _document(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise InvalidProfileError(f"The text to import is {_kind(text)}; give a string.")
    try:
        # Some editors begin a file with a byte order mark.
        document = from_json(text.removeprefix("\ufeff"), allow_inf_nan=False)
    except (TypeError, ValueError) as error:  # a TypeError for half of a surrogate pair
        raise InvalidProfileError(f"The text to import is no JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidProfileError(f"The JSON to import is {_kind(document)}; give an object.")
    for name, value in (("format", FORMAT), ("format_version", FORMAT_VERSION)):
        given = document.get(name)
        if type(given) is not type(value) or given != value:
            others = (
                " What LangMem, mem0 or people wrote is imported by import_langmem, import_mem0 "
                "and import_plain_text, or `amulet profile import --from`."
            )
            raise InvalidProfileError(
                f"{name}={given!r:.80} cannot be imported; this version of the package reads "
                f"{name}={value!r}.{others if name == 'format' else ''}"
            )
    if unknown := sorted(document.keys() - set(_FIELDS)):
        raise InvalidProfileError(
            f"{unknown[0]!r:.80} is no field of the format; it has {', '.join(_FIELDS)}."
        )
    return document


def profile_from_json(place: str, item: Any) -> PreferenceProfile:
    """Reads a profile from plain JSON values, as version 0.

    Args:
        place: What the profile is called in messages.
        item: An object with the fields of `PreferenceProfile`.

    Raises:
        InvalidProfileError: It is not valid. The message names the field, such as
            ``profiles[3].preferences[0].weight``, and quotes no preference.
    """
    fields = _object(place, item, PreferenceProfile)
    preferences = fields.get("preferences", [])
    if not isinstance(preferences, list):
        raise InvalidProfileError(f"{place}.preferences is {_kind(preferences)}; give a list.")
    read = [
        _made(f"{place}.preferences[{number}]", Preference, one, {"text": "-"})
        for number, one in enumerate(preferences)
    ]
    params = fields.get("params")
    if params is not None:
        params = _made(f"{place}.params", AmuletParams, params, {})
    known = {**fields, "preferences": read, "params": params}
    profile = _made(place, PreferenceProfile, known, {"user_id": "-"})
    return profile.model_copy(update={"version": 0, "updated_at": None})


def _made(place: str, kind: type[Model], item: Any, least: dict[str, Any]) -> Model:
    """Makes a model. The message of an error names the field, and quotes only numbers."""
    fields = _object(place, item, kind)
    if kind is Preference:  # null is what is left out
        fields = {name: value for name, value in fields.items() if value is not None}
    try:
        return kind(**fields)
    except AmuletError as error:
        whole = str(error)
    for name, value in fields.items():
        try:
            kind(**{**least, name: value})
        except AmuletError as error:
            raise InvalidProfileError(f"{place}.{_of_field(name, value, str(error))}") from None
    raise InvalidProfileError(f"{place}: {whole}")


def _of_field(name: str, value: Any, message: str) -> str:
    if value is None or isinstance(value, int | float):
        return message if message.startswith(name) else f"{name}={value}: {message}"
    # The text before the reason may quote the value.
    reason = message.rpartition(": ")[2]
    return f"{name} is {_kind(value)}: {reason}"


def _object(place: str, item: Any, kind: type[BaseModel]) -> dict[str, Any]:
    if isinstance(item, str) and kind is Preference:
        return {"text": item}
    if not isinstance(item, dict):
        raise InvalidProfileError(f"{place} is {_kind(item)}; give an object.")
    names = {field.alias or name for name, field in kind.model_fields.items()}
    if unknown := item.keys() - names - set(kind.model_fields):
        error = UnknownArgumentError.for_names(kind.__name__, unknown, names)
        raise InvalidProfileError(f"{place}: {error}")
    return item


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")
