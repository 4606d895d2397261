"""Without keys: keeps web pages of other origins away, which a browser on this machine opens."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.operations.error_answers import send_error

from .loopback import is_loopback
from .web_origins import Authority, is_of_host


class OriginCheck:
    """Middleware that answers 403 to requests which web pages of other origins cause.

    Args:
        app: The application.
        origins: Origins whose pages may call.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with an error."""
        if scope["type"] in ("http", "websocket"):
            try:
                check_local(scope, self._origins)
            except ApiError as error:
                await send_error(error, scope, receive, send)
                return
        await self._app(scope, receive, send)


def check_local(scope: Scope, origins: Collection[str]) -> None:
    """Refuses a request that this machine has not sent of its own accord.

    A browser sends a page's requests from this machine, where a server without keys trusts
    everybody. Two headers, which no page can change, tell such a request: `Host` is another name
    if a name of the page's owner was made to lead here (DNS rebinding), and `Origin` or
    `Sec-Fetch-Site` is another page's.

    Args:
        scope: ASGI's, of the request.
        origins: Origins whose pages may call.

    Raises:
        ApiError: 403, it comes from another machine, or from another origin's page; 400, `Host`
            names no host.
    """
    headers = Headers(scope=scope)
    if _is_elsewhere(scope.get("client")):
        raise ApiError.forbidden(
            "This server has no keys, so it answers this machine only. Start the server with keys "
            "to serve others."
        )
    hosts = headers.getlist("host")
    host = Authority.parse(hosts[0]) if len(hosts) == 1 else None
    if host is None:
        raise ApiError(400, "The header Host has to name one host.")
    if not is_loopback(host.host):
        raise ApiError.forbidden(
            "This server has no keys, so it answers under localhost, 127.0.0.1 and ::1 only. "
            "The header Host is another one. Start the server with keys to serve others."
        )
    for origin in headers.getlist("origin"):
        if origin not in origins and not is_of_host(origin, host):
            raise ApiError.forbidden(
                "This server has no keys, so it answers no web pages of other origins. Name "
                "the page's origin in cors_origins, or start the server with keys."
            )
    if "origin" not in headers and _is_foreign(headers, scope.get("method", "GET")):
        raise ApiError.forbidden(
            "This server has no keys, so no other site may embed or load what it serves."
        )


def _is_elsewhere(client: tuple[str, int] | None) -> bool:
    """Whether a client's address is another machine's; a socket file and a test have none."""
    if client is None:
        return False
    try:
        ip_address(client[0])
    except ValueError:
        return False
    return not is_loopback(client[0])


def _is_foreign(headers: Headers, method: str) -> bool:
    """Whether another site's page loads something here; following a link is not that."""
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    kind = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return method not in ("GET", "HEAD") or kind != ("navigate", "document")
