"""An HTTP request on its way from the ingress to a replica."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from starlette.types import Receive, Scope

from amulet_integrations.serving.operations.request_record import path_below_root

MODEL_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Where prompts are computed. They hold nothing of a user, so that they may be logged."""

_KEPT = (
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
    *("root_path", "headers", "client", "server"),
)
"""What ASGI says of a request; servers add what cannot leave their process."""


class ClientGoneError(Exception):
    """The client hung up before its request was there."""


class ReplicaLostError(Exception):
    """A replica has ended while it worked for a request."""


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """A request that was read whole, so that it can be sent to another replica again.

    Attributes:
        scope: ASGI's description of the request.
        body: The body.
    """

    scope: dict[str, Any]
    body: bytes

    @classmethod
    def without_body(cls, scope: Scope) -> Self:
        """A request of which its headers are enough."""
        return cls({name: scope[name] for name in _KEPT if name in scope}, b"")

    @classmethod
    async def read(cls, scope: Scope, receive: Receive) -> Self:
        """Reads a request to its end.

        Raises:
            ClientGoneError: There is no end of it.
        """
        parts: list[bytes] = []
        is_whole = False
        while not is_whole:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            is_whole = not message.get("more_body", False)
        return replace(cls.without_body(scope), body=b"".join(parts))

    @property
    def may_be_repeated(self) -> bool:
        """Whether another replica may do it when nobody knows how far the first one came.

        Answers of the model change nothing that is kept; writes of profiles do.
        """
        return self.scope["method"] in ("GET", "HEAD", "OPTIONS") or self.asks_the_model

    @property
    def asks_the_model(self) -> bool:
        """Whether prompts of it are computed, and kept."""
        return self.scope["method"] == "POST" and path_below_root(self.scope) in MODEL_PATHS
