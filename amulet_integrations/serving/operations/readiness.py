"""Where a server is between its start and its end, and what it refuses meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from amulet_integrations.serving.api_errors import ApiError

Phase = Literal["starting", "loading", "ready", "failed", "stopping"]

_LOADING_RETRY = 5
"""Seconds after which a client may ask a server that loads again: what readiness probes wait."""


def _nothing() -> None:
    """Stands for a server that nobody has to stop."""


@dataclass
class Readiness:
    """Whether requests are answered.

    Attributes:
        phase: "starting" until the application runs. It is refused nothing then: the model is
            loaded by the first request, as in a test that skips the start.
        failure: Why the model could not be loaded.
        is_engine_left: Whether the model was still being loaded, or decoding hung, when the server
            ended.
        on_ready: Is called when the model is loaded.
        stop: Ends the server when the model cannot be loaded.
    """

    phase: Phase = "starting"
    failure: Exception | None = None
    is_engine_left: bool = False
    on_ready: Callable[[], None] = _nothing
    stop: Callable[[], None] = _nothing

    def begin(self) -> None:
        """Notes that the application starts, perhaps again."""
        self.phase = "loading"
        self.failure = None

    def end(self) -> None:
        """Notes that the server ends, unless it does because it has failed."""
        if self.phase != "failed":
            self.phase = "stopping"

    def become_ready(self) -> None:
        """Notes that the model is loaded, unless the server ends already."""
        if self.phase in ("starting", "loading"):
            self.phase = "ready"
            self.on_ready()

    def fail(self, error: Exception) -> None:
        """Keeps the error that loading the model has ended with, and stops the server."""
        self.phase = "failed"
        self.failure = error
        self.stop()

    def check(self) -> None:
        """Refuses a request that no model is there for.

        Raises:
            ApiError: 503; with `Retry-After` if asking again helps.
        """
        if self.phase == "loading":
            raise ApiError(
                503,
                "The model is still being loaded. Try again in a few seconds.",
                kind="server_error",
                code="model_loading",
                headers={"Retry-After": str(_LOADING_RETRY)},
            )
        if self.phase == "failed":
            raise ApiError(
                503, "The model could not be loaded.", kind="server_error", code="model_failed"
            )
        if self.phase == "stopping":
            raise shutting_down()


def shutting_down() -> ApiError:
    """The answer to requests that the end of the server ends."""
    return ApiError(
        503,
        "The server is shutting down. Try again.",
        kind="server_error",
        code="shutting_down",
        headers={"Retry-After": "1", "Connection": "close"},
    )
