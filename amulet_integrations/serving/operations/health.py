"""What machines ask of a server: whether it runs, whether it is ready, and how much it does."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from amulet_integrations.serving.server_state import State

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "The model is loaded, or the server stops."}}
)
async def readyz(state: State, response: Response) -> dict[str, str]:
    """200 once the model is loaded, and 503 before and while the server stops."""
    if not state.is_ready:
        response.status_code = 503
    return {"status": state.readiness.phase}


@router.get("/metrics", response_class=Response)
async def metrics(state: State) -> Response:
    """Counters in Prometheus' text format."""
    return Response(state.metrics.page(), media_type=CONTENT_TYPE_LATEST)
