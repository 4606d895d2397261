"""What a request passes on its way to a route, apart from keys and pages."""

from __future__ import annotations

from fastapi import FastAPI

from amulet_integrations.serving.server_state import ServerState

from .gate import GateMiddleware
from .observing import ObservingMiddleware
from .request_bodies import BodyBoundsMiddleware
from .running_requests import RunningRequestsMiddleware


def bound_requests(app: FastAPI, state: ServerState) -> None:
    """Bounds what requests may cost, and ends them with their clients and with the server."""
    settings = state.settings
    app.add_middleware(
        BodyBoundsMiddleware, max_size=settings.max_body_size, timeout=settings.receive_timeout
    )
    app.add_middleware(GateMiddleware, state=state)
    app.add_middleware(RunningRequestsMiddleware, running=state.running)


def observe_requests(app: FastAPI, state: ServerState) -> None:
    """Counts, logs and traces requests; the last to be added, since it surrounds all others."""
    app.add_middleware(ObservingMiddleware, metrics=state.metrics, model=state.settings.model)
