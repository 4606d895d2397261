"""What all routes of a server share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from amulet_integrations.client import AmuletClient
from amulet_integrations.profiles import Preference

from .access.known_keys import KnownKeys
from .preference_check import PreferenceCheck
from .settings import ServerSettings


@dataclass
class ServerState:
    """One server's model, keys and settings.

    Attributes:
        settings: The settings.
        client: The model with its engine and its store of profiles.
        keys: The keys; None where the server serves this machine only.
        is_ready: Whether the model is loaded.
        created: When the server was made, in seconds since 1970.
        preference_check: The operator's check of preferences; None for none.
    """

    settings: ServerSettings
    client: AmuletClient
    keys: KnownKeys | None
    is_ready: bool = field(default=False)
    created: int = field(default_factory=lambda: int(time.time()))
    preference_check: PreferenceCheck | None = None

    def check_preferences(
        self, user_id: str | None, preferences: Iterable[Preference]
    ) -> tuple[Preference, ...]:
        """The preferences as the operator lets them be used. It may block: call it on a thread.

        Raises:
            ApiError: 400, the operator refuses one; 500, the check fails.
        """
        if self.preference_check is None:
            return tuple(preferences)
        return self.preference_check.check(user_id, preferences)


def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    return cast("ServerState", request.app.state.server)


State = Annotated[ServerState, Depends(state_of)]
"""A route's parameter of this type is the server's state."""
