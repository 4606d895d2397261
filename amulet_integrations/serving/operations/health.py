"""Whether the server runs, and whether it is ready."""

from __future__ import annotations

from fastapi import APIRouter, Response

from amulet_integrations.serving.server_state import State

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(state: State, response: Response) -> dict[str, str]:
    """200 once the model is loaded, and 503 before."""
    if not state.is_ready:
        response.status_code = 503
    return {"status": "ready" if state.is_ready else "loading"}
