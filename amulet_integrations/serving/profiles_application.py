"""Profiles over HTTP for any application: beside its own routes, or below a prefix."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from amulet_integrations import __version__
from amulet_integrations.errors import AmuletError, InvalidParamsError

from .access import caller_routes
from .access.authentication import KEY_SCHEME
from .access.request_access import Access
from .app_state import AppState
from .framework_errors import NO_TELEMETRY, add_error_handlers, answer_error
from .operations.gate import GateMiddleware
from .operations.request_bodies import BodyBoundsMiddleware
from .operations.unexpected_failures import FailureMiddleware
from .profile_api import explain_routes, history_routes, profile_routes
from .profile_api.profile_paths import PROFILES_PATH
from .profile_api.profile_service import ProfileService
from .settings import MAX_BODY_SIZE, MAX_REQUESTS, RECEIVE_TIMEOUT

PROFILE_ROUTERS = (
    profile_routes.router,
    history_routes.router,
    explain_routes.router,
    caller_routes.router,
)
"""All that needs an `AppState` alone, and no model."""

_PATHS = (PROFILES_PATH, f"{PROFILES_PATH}/{{rest:path}}", "/v1/me")


def create_profiles_app(
    access: Access,
    profiles: ProfileService,
    *,
    max_body_size: int = MAX_BODY_SIZE,
    max_requests: int = MAX_REQUESTS,
    receive_timeout: float = RECEIVE_TIMEOUT,
) -> FastAPI:
    """Makes an ASGI application of /v1/profiles and /v1/me, without a model.

    It brings its own form of errors, bounds and checks of keys, so it can be mounted anywhere:
    ``app.mount("/amulet", create_profiles_app(access, profiles))``. It has nothing to start and
    nothing to end.

    Args:
        access: Who sends a request, and whom they may name.
        profiles: The profiles.
        max_body_size: Most bytes of a request's body; more are refused with 413.
        max_requests: Most requests that one key may have in work; more are refused with 429.
        receive_timeout: Seconds within which a body has to have arrived whole.

    Returns:
        The application.

    Raises:
        InvalidParamsError: A bound is not above 0.
    """
    bounds = {
        "max_body_size": max_body_size,
        "max_requests": max_requests,
        "receive_timeout": receive_timeout,
    }
    for name, value in bounds.items():
        if not value > 0:
            raise InvalidParamsError(f"{name}={value!r}: give a number above 0.")
    app = FastAPI(
        title="amulet profiles", version=__version__, docs_url=None, redoc_url=None, **NO_TELEMETRY
    )
    app.state.amulet = AppState(access, profiles)
    app.add_middleware(
        BodyBoundsMiddleware,
        max_size=max_body_size,
        timeout=receive_timeout,
        setting="max_body_size",
    )
    app.add_middleware(GateMiddleware, access=access, most=max_requests, setting="max_requests")
    app.add_middleware(FailureMiddleware)
    for router in PROFILE_ROUTERS:
        app.include_router(router, dependencies=[] if access.keys is None else [KEY_SCHEME])
    add_error_handlers(app)
    return app


def add_profile_routes(
    app: Starlette,
    access: Access,
    profiles: ProfileService,
    *,
    prefix: str = "",
    max_body_size: int = MAX_BODY_SIZE,
    max_requests: int = MAX_REQUESTS,
    receive_timeout: float = RECEIVE_TIMEOUT,
) -> None:
    """Adds /v1/profiles and /v1/me to an application that has routes of its own.

        add_profile_routes(app, access, profiles)

        @app.post("/v1/chat/completions")
        async def chat(request: Request, body: Chat):
            asker = await access.asker_of(request, body.user)

    The application keeps its own errors, middleware and routes; those that it had before come
    first. Its routes may raise this package's errors, which are answered in OpenAI's form unless it
    has a handler of its own for `AmuletError`. `app.state.amulet` holds `access` and `profiles`.

    Args:
        app: An application of FastAPI or Starlette, before it starts.
        access: Who sends a request, and whom they may name.
        profiles: The profiles.
        prefix: What comes before /v1/profiles in the paths, such as "/amulet".
        max_body_size: As in `create_profiles_app`, like the others; for these routes alone.
        max_requests: Most requests to these routes that one key may have in work.
        receive_timeout: Seconds within which a body has to have arrived whole.

    Raises:
        InvalidParamsError: The prefix is none, a bound is not above 0, or the application has
            these routes already.
    """
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise InvalidParamsError(f"prefix={prefix!r:.80}: give one such as '/amulet', or none.")
    if hasattr(app.state, "amulet"):
        raise InvalidParamsError("This application has the routes of profiles already.")
    served = create_profiles_app(
        access,
        profiles,
        max_body_size=max_body_size,
        max_requests=max_requests,
        receive_timeout=receive_timeout,
    )
    app.state.amulet = served.state.amulet
    if AmuletError not in app.exception_handlers:
        app.add_exception_handler(AmuletError, answer_error)
    if prefix:
        app.mount(prefix, served)
        return
    inside = _Inside(served)
    app.router.routes.extend(
        Route(path, inside, name="profiles", include_in_schema=False) for path in _PATHS
    )


class _Inside:
    """An application whose routes are among those of another one."""

    __name__ = "profiles"  # some servers write the names of all routes into their log

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A copy: what surrounds the other application goes on reading its own route.
        await self._app({**scope, "path_params": {}}, receive, send)
