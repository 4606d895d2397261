"""Parameters that the operator lets pass, although nobody here knows them."""

from __future__ import annotations

from contextvars import ContextVar

from amulet_integrations.serving.server_state import State

_IGNORED: ContextVar[frozenset[str]] = ContextVar("ignored_parameters", default=frozenset())


async def let_ignored_pass(state: State) -> None:
    """A dependency of routes: their bodies may hold `ServerSettings.ignored_parameters`.

    FastAPI resolves it before it reads the body, in the same task.
    """
    _IGNORED.set(frozenset(state.settings.ignored_parameters))


def ignored_parameters() -> frozenset[str]:
    """The names that the body that is being read may hold beside those of its model."""
    return _IGNORED.get()
