"""Which preferences of a user are in force, why the others are not, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from amulet_integrations.decoding.strength import Method
from amulet_integrations.profiles.active import Verdict
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import Moment
from amulet_integrations.profiles.preference import PreferenceKind
from amulet_integrations.profiles.profile_explanation import ProfileExplanation
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.given_context import GivenContext
from amulet_integrations.serving.openai_api.requests.request_model import RequestModel

from .encoded_path import EncodedPathRoute
from .path_user import ProfilesOf
from .profile_paths import PROFILES_PATH
from .profile_response import READ_ERRORS
from .user_profiles import UserProfiles

router = APIRouter(prefix=PROFILES_PATH, tags=["profiles"], route_class=EncodedPathRoute)

_CONTEXT_PARAMETER: dict[str, Any] = {
    "name": "context",
    "in": "query",
    "description": "What the call is about: each further parameter is a name and its value, such "
    "as `topic=health`.",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}


class ExplainBody(RequestModel):
    """What to explain a profile for.

    Attributes:
        preference_context: What the call is about.
        at: The moment, with a time zone; now by default.
    """

    model_config = ConfigDict(strict=False)

    preference_context: GivenContext = Field(default={})
    at: Moment | None = None


class ExplainedPreference(BaseModel):
    """A preference, and whether it is in force.

    Attributes:
        profile: The profile that contains it: the user's own, or one that it inherits from.
        holds: Whether it is in force.
        reason: Why it is not; null if it is.
        text: The preference; null where another's profile contains it and the key is a user's.
        name: As in the profile, like the others.
        weight: From -1 to 1.
        valid_from: From when on it holds.
        valid_until: When it no longer holds.
        when: What it holds for.
        kind: What a gate takes it for; left out where the model decides.
    """

    profile: str
    holds: bool
    reason: str | None
    text: str | None
    name: str | None
    weight: float
    valid_from: datetime | None
    valid_until: datetime | None
    when: dict[str, str]
    kind: PreferenceKind | None = Field(default=None, exclude_if=lambda kind: kind is None)


class ExplainedProfile(BaseModel):
    """Which preferences of a user are in force at a moment and in a context.

    Attributes:
        user_id: The user.
        at: The moment.
        preference_context: The context.
        line: The profile, its parent and so on.
        missing_parent: A parent of whom nothing is stored.
        method: The method; null where the call decides.
        guidance_scale: The strength; the default where the call decides.
        max_kl: The bound; null for none.
        gate: The kind and the threshold of the gate; null for none.
        weights: The weights of the plain context and of those with preferences.
        preferences: The preferences, those of the furthest ancestor first.
    """

    user_id: str
    at: datetime
    preference_context: dict[str, str]
    line: list[str]
    missing_parent: str | None
    method: Method | None
    guidance_scale: float
    max_kl: float | None
    gate: dict[str, Any] | None
    weights: list[float]
    preferences: list[ExplainedPreference]


@router.get(
    "/{user_id}/explain",
    responses=READ_ERRORS,
    openapi_extra={"parameters": [_CONTEXT_PARAMETER]},
)
async def explain_profile(
    profiles: ProfilesOf,
    request: Request,
    at: Annotated[
        Moment | None, Query(description="The moment, with a time zone; now by default.")
    ] = None,
) -> ExplainedProfile:
    """Explains which preferences are in force, for what the other parameters say.

    A name that is also a parameter here (`at`) has to be sent by POST.
    """
    return await _explain(profiles, _context_of(request), at)


@router.post("/{user_id}/explain", responses=READ_ERRORS)
async def explain_profile_for(profiles: ProfilesOf, body: ExplainBody) -> ExplainedProfile:
    """Explains which preferences are in force, for what the body says."""
    return await _explain(profiles, body.preference_context, body.at)


async def _explain(
    profiles: UserProfiles, context: Mapping[str, str], at: datetime | None
) -> ExplainedProfile:
    checked = PreferenceContext(context)
    line = await profiles.line()
    explanation = ProfileExplanation(line, at or datetime.now(UTC), checked)
    return ExplainedProfile(
        user_id=explanation.whole.user_id,
        at=explanation.at,
        preference_context=dict(checked),
        line=[profile.user_id for profile in line],
        missing_parent=line[-1].parent,
        method=explanation.whole.method,
        guidance_scale=explanation.strength.guidance_scale,
        max_kl=explanation.strength.max_kl,
        gate=explanation.gate,
        weights=list(explanation.weights),
        preferences=[_explained(it, profiles) for it in explanation.verdicts],
    )


def _explained(verdict: Verdict, profiles: UserProfiles) -> ExplainedPreference:
    preference = verdict.preference
    shown = profiles.caller.may_name_users or verdict.user_id == profiles.user_id
    return ExplainedPreference(
        profile=verdict.user_id,
        holds=verdict.holds,
        reason=verdict.reason,
        text=preference.text if shown else None,
        name=preference.name,
        weight=preference.weight,
        valid_from=preference.valid_from,
        valid_until=preference.valid_until,
        when=dict(preference.when),
        kind=preference.kind,
    )


def _context_of(request: Request) -> dict[str, str]:
    """The names and values among a request's query parameters."""
    context: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name == "at":
            continue
        if name == "preference_context":
            raise ApiError(
                400,
                "preference_context is not one parameter: send each name by itself, such as "
                "?topic=health, or send a body by POST.",
                param="preference_context",
            )
        if name in context:
            raise ApiError(400, f"{name!r:.80} is given twice in the query.", param=name)
        context[name] = value
    return context
