"""What a request passes before a replica is chosen for it, and in which order."""

from __future__ import annotations

from starlette.types import ASGIApp

from amulet_integrations.serving.access.cross_origin import CrossOriginMiddleware
from amulet_integrations.serving.access.origin_check import OriginCheck
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.operations.request_bodies import BodyBoundsMiddleware
from amulet_integrations.serving.settings import ServerSettings

from .ingress_log import IngressLogMiddleware
from .user_ingress import Replicas, UserIngress
from .user_routing import UserRouting


def make_ingress(pool: Replicas, settings: ServerSettings) -> ASGIApp:
    """Makes the ASGI application in front of all replicas.

    It refuses what the server of one process refuses before its routes, in the same order.

    Args:
        pool: The replicas.
        settings: The settings of the server.
    """
    access = Access(settings.keys, settings.user_headers, cors_origins=settings.cors_origins)
    app: ASGIApp = BodyBoundsMiddleware(
        UserIngress(pool, UserRouting(access), settings),
        max_size=settings.max_body_size,
        timeout=settings.receive_timeout,
        setting="max_body_size",
    )
    if settings.keys is None:
        app = OriginCheck(app, settings.cors_origins)
    if settings.cors_origins:
        app = CrossOriginMiddleware(app, settings.cors_origins)
    return IngressLogMiddleware(app)
