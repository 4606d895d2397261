"""The application: what is mounted where, and what happens from start to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from amulet_integrations import __version__
from amulet_integrations.client import AmuletClient
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import InvalidParamsError

from .access.authentication import KEY_SCHEME
from .access.request_access import Access
from .app_middleware import add_middleware
from .framework_errors import NO_TELEMETRY, add_error_handlers
from .openai_api import chat_routes, completion_routes, served_model
from .openai_api.unknown_paths import unknown_path_hint
from .operations import health
from .operations.model_loading import serving_model
from .page import page_routes
from .profile_api.profile_service import ProfileService
from .profiles_application import PROFILE_ROUTERS
from .served_engine import check_engine, load_engine, source_fields
from .server_state import ServerState
from .settings import ServerSettings

_ROUTERS = (
    chat_routes.router,
    completion_routes.router,
    served_model.router,
    *PROFILE_ROUTERS,
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
        AmuletError: A setting is not valid, the package of the engine is not installed, the
            engine has no such option, or there is no such model.
    """
    settings = settings or ServerSettings()
    client = _client(settings, engine)
    state = ServerState(
        settings=settings,
        client=client,
        access=Access(
            settings.keys,
            settings.user_headers,
            share_prefixes=settings.share_prefixes,
            cors_origins=settings.cors_origins,
        ),
        profiles=ProfileService(
            None if settings.profiles is None else client.open_profiles,
            max_guidance_scale=settings.max_guidance_scale,
            timeout=settings.timeout,
            preference_check=settings.preference_check,
        ),
    )
    app = FastAPI(
        title="amulet",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        **NO_TELEMETRY,
    )
    app.state.amulet = state
    add_middleware(app, state)
    for router in _ROUTERS:
        needs_key = settings.keys is not None and router.prefix.startswith("/v1")
        app.include_router(router, dependencies=[KEY_SCHEME] if needs_key else [])
    add_error_handlers(app, path_hint=unknown_path_hint)
    return app


def _client(settings: ServerSettings, engine: Engine | None) -> AmuletClient:
    common: dict[str, Any] = {
        "profiles": settings.profiles,
        "profiles_ttl": settings.profiles_ttl,
        "unknown_user": "plain",
        "max_guidance_scale": settings.max_guidance_scale,
        "max_tokens": settings.default_max_tokens,
        "timeout": settings.timeout,
    }
    if engine is not None:
        if settings.engine_options:
            raise InvalidParamsError(
                f"engine_options={sorted(settings.engine_options)} beside engine=, which is made "
                "already. Leave one of them out."
            )
        return AmuletClient(engine=engine, **common)
    check_engine(settings)
    # The lifespan loads the engine. Without one, as in a test, the first request does.
    return AmuletClient.loading_with(
        lambda _source: load_engine(settings), **source_fields(settings), **common
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with serving_model(app.state.amulet):
        yield
