"""What all routes of a server share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from amulet_integrations.client import AmuletClient

from .access.caller import Caller
from .access.key_file import KeyFile
from .settings import ServerSettings


@dataclass
class ServerState:
    """One server's model, keys and settings.

    Attributes:
        settings: The settings.
        client: The model with its engine and its store of profiles.
        keys: The keys; None where the server serves this machine only.
        is_ready: Whether the model is loaded.
    """

    settings: ServerSettings
    client: AmuletClient
    keys: KeyFile | None
    is_ready: bool = field(default=False)

    def cache_salt(self, caller: Caller, user_id: str | None) -> str | None:
        """Which requests share what has been computed of their prompts: those of one user.

        Args:
            caller: Who sends the request.
            user_id: The user whose preferences count; None for nobody's.

        Returns:
            `GenerationRequest.cache_salt`; None where all users share, see
            `ServerSettings.share_prefixes`.
        """
        if self.settings.shares_prefixes:
            return None
        return f"key {caller.key_id}" if user_id is None else f"user {user_id}"


def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    return cast("ServerState", request.app.state.server)


State = Annotated[ServerState, Depends(state_of)]
"""A route's parameter of this type is the server's state."""
