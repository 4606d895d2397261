"""Errors as OpenAI's API writes them: a status, and what is wrong in an object."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from amulet_integrations.errors import (
    AmuletError,
    ContextLengthError,
    CorruptProfileError,
    EngineClosedError,
    EngineOverloadedError,
    GenerationError,
    IncompleteOutputError,
    ModelNotFoundError,
    ProfileConflictError,
    ProfileStoreError,
    RequestCancelledError,
    RequestTimeoutError,
    UnknownUserError,
)

RETRY_AFTER = 1
"""Seconds after which a refused client may try again."""

_NONE: Mapping[str, str] = MappingProxyType({})


class ApiError(AmuletError):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        message: What is wrong, and what to do.
        kind: OpenAI's `type`: "invalid_request_error", "authentication_error",
            "permission_error", "not_found_error", "rate_limit_error" or "server_error".
        code: OpenAI's `code`, such as "model_not_found"; None for none.
        param: The field of the request that is meant; None for none.
        headers: Headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> None:
        super().__init__(message, param=param and param.encode(errors="backslashreplace").decode())
        self.status = status
        self.kind = kind
        self.code = code
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        """The response's body, as plain JSON values."""
        return {
            "error": {
                "message": str(self),
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    @classmethod
    def unauthorized(cls, message: str) -> Self:
        """401: the key is missing or wrong."""
        return cls(
            401,
            message,
            kind="authentication_error",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )

    @classmethod
    def forbidden(cls, message: str) -> Self:
        """403: the key may not do this."""
        return cls(403, message, kind="permission_error", code="forbidden")

    @classmethod
    def not_found(cls, message: str, code: str = "not_found", param: str | None = None) -> Self:
        """404: there is no such thing."""
        return cls(404, message, kind="not_found_error", code=code, param=param)

    @classmethod
    def too_many(cls, message: str, code: str = "rate_limit_exceeded") -> Self:
        """429: more than the server or the key may have in work; with `Retry-After`."""
        headers = {"Retry-After": str(RETRY_AFTER)}
        return cls(429, message, kind="rate_limit_error", code=code, headers=headers)

    @classmethod
    def failed(cls, request_id: str | None = None) -> Self:
        """500: a fault of this server, of which the client learns nothing.

        Args:
            request_id: The request's id, where nothing else puts it into the answer.
        """
        return cls(
            500,
            "The server failed unexpectedly. Its log has an entry with the X-Request-Id of this "
            "answer.",
            kind="server_error",
            code="internal_error",
            headers=_NONE if request_id is None else {"X-Request-Id": request_id},
        )

    @classmethod
    def of(cls, error: AmuletError) -> ApiError:
        """The answer to a request that one of this package's errors ended."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, EngineOverloadedError):
            return cls.too_many(str(error), code="engine_overloaded")
        for kinds, status, code in _REQUEST_ERRORS:
            if isinstance(error, kinds):
                return cls(status, str(error), code=code, param=error.param)
        for kinds, status, code in _SERVER_ERRORS:
            if isinstance(error, kinds):
                return cls(status, str(error), kind="server_error", code=code)
        return cls(400, str(error), param=error.param)


_REQUEST_ERRORS: tuple[tuple[type[AmuletError] | tuple[type[AmuletError], ...], int, str], ...] = (
    (ContextLengthError, 400, "context_length_exceeded"),
    (IncompleteOutputError, 400, "max_tokens_too_small"),
    (ModelNotFoundError, 404, "model_not_found"),
    (UnknownUserError, 404, "user_not_found"),
    (ProfileConflictError, 409, "profile_conflict"),
)
_SERVER_ERRORS: tuple[tuple[type[AmuletError] | tuple[type[AmuletError], ...], int, str], ...] = (
    (RequestTimeoutError, 504, "timeout"),
    ((EngineClosedError, RequestCancelledError), 503, "shutting_down"),
    (ProfileStoreError, 503, "profiles_unavailable"),
    (CorruptProfileError, 500, "profile_damaged"),
    (GenerationError, 500, "generation_failed"),
)
