"""Profiles that were looked up for a call, in contrast to those that a caller gives."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_serializer

from amulet_integrations.profiles import PreferenceProfile


class LookedUpProfile(PreferenceProfile):
    """A profile as it was read for one call, merged with its parents.

    What is stored may exceed a limit that was lowered since, so only what is active in the call is
    checked. Its class says where it comes from, because fields such as `version` are the caller's
    to fill. It serialises without its preferences, because tracers record whole requests.
    """

    @classmethod
    def of(cls, profile: PreferenceProfile) -> Self:
        """The same profile as a looked-up one."""
        return cls(**{name: getattr(profile, name) for name in profile.model_fields_set})

    @model_serializer
    def _public_fields(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "version": self.version}
