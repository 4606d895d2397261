"""What all routes of a server share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from amulet_integrations.client import AmuletClient

from .app_state import AppState
from .operations.readiness import Readiness
from .operations.running_requests import RunningRequests
from .operations.server_metrics import ServerMetrics
from .settings import ServerSettings


@dataclass
class ServerState(AppState):
    """One server's model, keys and settings.

    Attributes:
        settings: The settings.
        client: The model with its engine and its store of profiles.
        readiness: Where the server is between its start and its end.
        running: The requests in work.
        metrics: What Prometheus reads.
        created: When the server was made, in seconds since 1970.
    """

    settings: ServerSettings
    client: AmuletClient
    readiness: Readiness = field(default_factory=Readiness)
    running: RunningRequests = field(default_factory=RunningRequests)
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics.watch_engine(lambda: getattr(self.client.engine, "stats", None))

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and requests are answered."""
        return self.readiness.phase == "ready"


async def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    return cast("ServerState", request.app.state.amulet)


State = Annotated[ServerState, Depends(state_of)]
"""A route's parameter of this type is the server's state."""
