"""What a request passes on its way to a route, and in which order."""

from __future__ import annotations

from fastapi import FastAPI

from .access.cross_origin import CrossOriginMiddleware
from .access.origin_check import OriginCheck
from .operations.gate import GateMiddleware
from .operations.observing import ObservingMiddleware
from .operations.request_bodies import BodyBoundsMiddleware
from .operations.running_requests import RunningRequestsMiddleware
from .server_state import ServerState


def add_middleware(app: FastAPI, state: ServerState) -> None:
    """Surrounds all routes. What is added last comes first on a request's way.

    Args:
        app: The application, before it starts.
        state: The server.
    """
    settings = state.settings
    app.add_middleware(
        BodyBoundsMiddleware,
        max_size=settings.max_body_size,
        timeout=settings.receive_timeout,
        setting="--max-body-size",
    )
    app.add_middleware(
        GateMiddleware,
        access=state.access,
        most=settings.max_streams,
        setting="--max-streams",
        check_ready=state.readiness.check,
    )
    app.add_middleware(RunningRequestsMiddleware, running=state.running)
    if settings.keys is None:
        app.add_middleware(OriginCheck, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(CrossOriginMiddleware, origins=settings.cors_origins)
    app.add_middleware(ObservingMiddleware, metrics=state.metrics, model=settings.model)
