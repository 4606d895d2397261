"""The application that `serve run` and `serve deploy` build from a file of settings."""

# Ray Serve reads the type of build_app's parameter, so that annotations are no strings here.

import logging.config
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from starlette.routing import Router
from starlette.types import ASGIApp

from amulet_integrations.serving.operations.access_log import log_config
from amulet_integrations.serving.settings import ServerSettings

from .cluster_settings import settled
from .ingress_layers import make_ingress
from .model_replica import ModelReplica
from .replica_pool import ReplicaPool

_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_FULL = 64
"""Requests that a replica has in work when the next replica gets those that follow."""


class AmuletIngress:
    """Ray Serve's entry: it holds no model."""

    def __init__(self, settings: ServerSettings, replicas: DeploymentHandle[Any]) -> None:
        logging.config.dictConfig(log_config())
        ingress = make_ingress(ReplicaPool(replicas), settings)
        self._asgi_app: ASGIApp = Router(default=ingress)  # it answers what ASGI calls a lifespan

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application that Ray Serve runs."""
        return self._asgi_app


def build_app(settings: ServerSettings) -> Application:
    """Builds the application; Ray Serve makes `settings` from `args` of its configuration file.

    It has two deployments, whose options the file may change. "AmuletModel" holds the model; its
    replicas and its actors' resources are the ones to decide. "AmuletIngress" chooses the replica.

    Args:
        settings: As for `amulet serve`, but for `host`, `port` and `send_timeout`, which are Ray
            Serve's. `profiles_ttl` is 0 unless it is given, so that a profile that is written
            through one replica is in force on all others at the next request.

    Returns:
        The application.

    Raises:
        InvalidParamsError: A setting means nothing here, or is a relative path.
    """
    settings = settled(settings)
    model = serve.deployment(ModelReplica).options(
        name="AmuletModel",
        max_ongoing_requests=_FULL,
        max_queued_requests=settings.max_waiting,
        graceful_shutdown_timeout_s=settings.shutdown_timeout,
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
    )
    ingress = serve.deployment(serve.ingress()(AmuletIngress)).options(
        name="AmuletIngress",
        max_ongoing_requests=settings.max_connections,
        max_queued_requests=settings.max_connections,
        # It has to outlive the answers of the replicas that are stopped with it.
        graceful_shutdown_timeout_s=settings.shutdown_timeout + 5,
        ray_actor_options={"num_cpus": 0.1},
    )
    return ingress.bind(settings, model.bind(settings))
