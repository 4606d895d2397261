"""The application: what is mounted where, and what happens from start to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from amulet_integrations import __version__
from amulet_integrations.client import AmuletClient
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import AmuletError

from .access.key_file import KeyFile
from .api_errors import ApiError
from .openai_api import chat_completions
from .operations import health
from .operations.gate import GateMiddleware
from .operations.model_loading import serving_model
from .operations.observing import REQUEST_ID, ObservingMiddleware
from .operations.request_bodies import BodyBoundsMiddleware
from .operations.request_record import note_error
from .operations.running_requests import RunningRequestsMiddleware
from .page import page_routes
from .profile_api import profile_routes
from .server_state import ServerState
from .settings import ServerSettings

_ROUTERS = (
    chat_completions.router,
    profile_routes.router,
    health.router,
    page_routes.router,
)


def create_app(settings: ServerSettings | None = None, *, engine: Engine | None = None) -> FastAPI:
    """Makes the ASGI application that `amulet serve` runs.

    Args:
        settings: The settings; those of `ServerSettings()` if it is None.
        engine: An engine to use in place of one that is loaded for `settings.model`. It stays the
            caller's: the application does not close it.

    Returns:
        The application. The model is loaded when it starts, beside the first requests.

    Raises:
        AmuletError: A setting is not valid, or there is no such model.
    """
    settings = settings or ServerSettings()
    state = ServerState(
        settings=settings,
        client=_client(settings, engine),
        keys=None if settings.keys is None else KeyFile(settings.keys),
    )
    app = FastAPI(
        title="amulet",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(state),
    )
    app.state.server = state
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(AmuletError, _answer_error)
    return app


def _client(settings: ServerSettings, engine: Engine | None) -> AmuletClient:
    source = {"engine": engine} if engine is not None else {"model": settings.model}
    return AmuletClient(
        **source,
        dtype=settings.dtype,
        device=settings.device,
        profiles=settings.profiles,
        unknown_user="plain",
        max_guidance_scale=settings.max_guidance_scale,
        max_tokens=settings.default_max_tokens,
        timeout=settings.timeout,
    )


def _middleware(state: ServerState) -> list[Middleware]:
    """What a request passes on its way in, the outermost first."""
    settings = state.settings
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("*",),
        allow_headers=("*",),
        expose_headers=(REQUEST_ID, "ETag", "Retry-After"),
    )
    return [
        Middleware(ObservingMiddleware, metrics=state.metrics, model=settings.model),
        *([cors] if settings.cors_origins else ()),
        Middleware(RunningRequestsMiddleware, running=state.running),
        Middleware(GateMiddleware, state=state),
        Middleware(
            BodyBoundsMiddleware,
            max_size=settings.max_body_size,
            timeout=settings.receive_timeout,
        ),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with serving_model(app.state.server):
        yield


def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AmuletError)  # noqa: S101 - it is registered for these
    answer = ApiError.of(error)
    note_error(answer.code)
    return JSONResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))
