"""All replicas of the model, as the ingress sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle
from starlette.types import Message

from amulet_integrations.serving.api_errors import ApiError

from .forwarded_request import ForwardedRequest, ReplicaLostError

_SECONDS_TO_ASK_ALL = 5.0


class ReplicaPool:
    """Sends requests to replicas.

    Args:
        handle: Ray Serve's handle of the replicas' deployment.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def answer(
        self, request: ForwardedRequest, session: str
    ) -> AsyncGenerator[list[Message], None]:
        """ASGI's messages of the answer, as they come. Closing it ends the work for the request.

        Args:
            request: The request.
            session: Requests of the same session go to the same replica, or to the next one if
                that one is full or dead. "" is for any replica.

        Raises:
            ApiError: 429, all replicas are full and enough requests wait; 503, there is none.
            ReplicaLostError: The replica has ended.
        """
        replicas = self._handle.options(stream=True, session_id=session)
        response = replicas.answer.remote(request)
        try:
            async for messages in response:
                yield messages
        except (GeneratorExit, asyncio.CancelledError):
            with suppress(RayError, RayServeException):  # it has ended by itself
                response.cancel()
            raise
        except BackPressureError:
            raise ApiError.too_many(
                "All replicas of the model are full, and enough requests wait (max_queued_requests "
                "of Ray Serve). Try again.",
                code="engine_overloaded",
            ) from None
        except DeploymentUnavailableError:
            raise ApiError(
                503, "The model could not be loaded.", kind="server_error", code="model_failed"
            ) from None
        except (RayActorError, ReplicaUnavailableError) as error:
            raise ReplicaLostError from error

    async def are_ready(self) -> bool:
        """Whether a replica answers requests now."""
        return True in await self._ask_all("is_ready")

    async def metrics(self) -> dict[str, bytes]:
        """What Prometheus reads of each replica, by the replica's id."""
        return dict(await self._ask_all("metrics"))

    async def _ask_all(self, method: str) -> list[Any]:
        """What the replicas answer that answer in time."""
        try:
            answers = await self._handle.broadcast(method).results_async(
                timeout_s=_SECONDS_TO_ASK_ALL, return_exceptions=True
            )
        except (TimeoutError, RayError, RayServeException):  # such as: there is none
            return []
        return [it for it in answers if not isinstance(it, BaseException)]
