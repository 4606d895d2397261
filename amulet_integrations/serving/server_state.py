"""What all routes of a server share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from amulet_integrations.client import AmuletClient
from amulet_integrations.profiles import Preference

from .access.caller import Caller
from .access.known_keys import KnownKeys
from .operations.readiness import Readiness
from .operations.running_requests import RunningRequests
from .operations.server_metrics import ServerMetrics
from .preference_check import PreferenceCheck
from .settings import ServerSettings


@dataclass
class ServerState:
    """One server's model, keys and settings.

    Attributes:
        settings: The settings.
        client: The model with its engine and its store of profiles.
        keys: The keys; None where the server serves this machine only.
        readiness: Where the server is between its start and its end.
        running: The requests in work.
        metrics: What Prometheus reads.
        created: When the server was made, in seconds since 1970.
        preference_check: The operator's check of preferences; None for none.
    """

    settings: ServerSettings
    client: AmuletClient
    keys: KnownKeys | None
    readiness: Readiness = field(default_factory=Readiness)
    running: RunningRequests = field(default_factory=RunningRequests)
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    created: int = field(default_factory=lambda: int(time.time()))
    preference_check: PreferenceCheck | None = None

    def __post_init__(self) -> None:
        self.metrics.watch_engine(lambda: getattr(self.client.engine, "stats", None))

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

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and requests are answered."""
        return self.readiness.phase == "ready"

    def cache_salt(self, caller: Caller, user_id: str | None) -> str | None:
        """Which requests share what has been computed of their prompts: those of one user.

        Args:
            caller: Who sends the request.
            user_id: The user whose preferences count; None for nobody's.

        Returns:
            `GenerationRequest.cache_salt`; None where all users share, see
            `ServerSettings.share_prefixes`.
        """
        if self.settings.shares_prefixes:
            return None
        return f"key {caller.key_id}" if user_id is None else f"user {user_id}"


async def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    return cast("ServerState", request.app.state.server)


State = Annotated[ServerState, Depends(state_of)]
"""A route's parameter of this type is the server's state."""
