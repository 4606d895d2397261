"""Routes that are matched before their path is decoded, so that ids may contain slashes."""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope


class EncodedPathRoute(APIRoute):
    """A route whose parameters are decoded after the path is split at its slashes.

    Servers decode a path before it is matched. Then ``a%2Fhistory``, the user "a/history", would
    be the history of the user "a".
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route is meant, and the decoded parameters of the path.

        What is no UTF-8 becomes lone surrogates, which no id may contain.
        """
        match, child_scope = super().matches({**scope, "path": _encoded_path(scope)})
        if match != Match.NONE:
            child_scope["path_params"] = {
                name: unquote(value, errors="surrogateescape")
                for name, value in child_scope["path_params"].items()
            }
        return match, child_scope


def _encoded_path(scope: Scope) -> str:
    # Servers may leave the path out as it was sent; then an id with a slash is not found.
    raw: bytes | None = scope.get("raw_path")
    return quote(scope.get("path", "")) if raw is None else raw.decode("latin-1")
