"""Profiles as clients send them: a whole one, or a JSON merge patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body
from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from amulet_integrations.profiles import PreferenceProfile, ProfileLimits
from amulet_integrations.profiles.stores.transfer import profile_from_json
from amulet_integrations.serving.api_errors import ApiError

READ_ONLY = ("user_id", "version", "updated_at")
"""Fields that no patch changes."""

TOLD = "contradictions"
"""A field of answers that is not read."""

_PLACE = "profile"


def read_document(
    user_id: str, document: Mapping[str, Any], limits: ProfileLimits
) -> PreferenceProfile:
    """Reads the profile that is to be stored for a user.

    Its `version` and `updated_at` have to be valid, and are not used: the server sets them.

    Raises:
        ApiError: 400, it is another user's.
        ProfileLimitError: It has too many preferences.
        InvalidProfileError: It is not valid. The message quotes no preference.
    """
    named = document.get("user_id", user_id)
    if named != user_id:
        raise ApiError(
            400,
            f"user_id={named!r:.80} is not the user in the path, {user_id!r:.80}. Leave it out.",
            param="user_id",
        )
    limits.check_count(user_id, document.get("preferences"))  # before each takes its time
    fields = _without_told(document)
    return profile_from_json(_PLACE, {**fields, "user_id": user_id})


def patched(before: PreferenceProfile, patch: Mapping[str, Any]) -> PreferenceProfile:
    """A profile after a JSON merge patch (RFC 7396).

    `preferences` is replaced as a whole, as all lists are, and null takes a field back to its
    default. Fields that the patch does not name stay as they are stored.

    Raises:
        ApiError: 400, it changes what the server sets.
        InvalidProfileError: The result is not valid. The message quotes no preference.
    """
    document, patch = before.model_dump(mode="json"), _without_told(patch)
    merged = _merge(document, patch)
    for name in READ_ONLY:
        if name in patch and merged.get(name) != document[name]:
            raise ApiError(400, f"{name} cannot be changed. Leave it out.", param=name)
    named = [name for name in patch if name not in READ_ONLY]
    given = {name: merged[name] for name in named if name in merged}
    read = profile_from_json(_PLACE, {"user_id": before.user_id, **given})
    # Only what is named is read: a stored text may be longer than what is allowed by now.
    changes = {name: getattr(read, name) for name in named if name in type(read).model_fields}
    return before.model_copy(update=changes)


def _without_told(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without what the server only tells, so that an answer can be sent back."""
    return {name: value for name, value in document.items() if name != TOLD}


def _merge(target: object, patch: object, depth: int = 2) -> Any:
    """RFC 7396, section 2. No field of a profile has objects deeper than `depth`."""
    if not (isinstance(patch, Mapping) and depth):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value, depth - 1)
    return merged


class _Described:
    """Describes plain JSON as a profile; `profile_from_json` reads it, whose errors say more.

    Args:
        title: What the API calls it.
        nullable: Whether null stands for the default of a field, as in a merge patch.
    """

    def __init__(self, title: str, *, nullable: bool) -> None:
        self._title = title
        self._nullable = nullable

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        model = handler.resolve_ref_schema(handler(PreferenceProfile.__pydantic_core_schema__))
        fields: dict[str, JsonSchemaValue] = {**model["properties"]}
        preferences = fields["preferences"]
        items = [{"type": "string"}, preferences["items"]]
        fields["preferences"] = {**preferences, "items": {"anyOf": items}}
        if self._nullable:
            fields = {name: _nullable(field) for name, field in fields.items()}
        for name in ("version", "updated_at"):
            fields[name] = {**fields[name], "readOnly": True}
        return {
            "type": "object",
            "title": self._title,
            "description": "See PreferenceProfile.",
            "properties": fields,
            "additionalProperties": False,
        }


def _nullable(field: JsonSchemaValue) -> JsonSchemaValue:
    null = {"type": "null"}
    plain = {name: value for name, value in field.items() if name not in {"default", "title"}}
    options = plain.get("anyOf", [plain])
    return {"anyOf": options if null in options else [*options, null]}


ProfileDocument = Annotated[dict[str, Any], _Described("Profile", nullable=False), Body()]
"""A route's parameter of this type is the profile in the body, for `read_document`."""

ProfilePatch = Annotated[
    dict[str, Any],
    _Described("Patch", nullable=True),
    Body(media_type="application/merge-patch+json"),
]
"""A route's parameter of this type is the merge patch in the body, for `patched`."""
