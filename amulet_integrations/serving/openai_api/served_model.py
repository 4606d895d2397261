"""GET /v1/models, and the check of the model that a request names."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.error_body import GUARDED_ERRORS, error_responses
from amulet_integrations.serving.server_state import ServerState, State

router = APIRouter(prefix="/v1/models", tags=["OpenAI"])

_ERRORS = GUARDED_ERRORS | error_responses(404)


class ServedModel(BaseModel):
    """The model of this server.

    Attributes:
        id: Its name, which requests send as `model`.
        object: "model".
        created: When the server was started, in seconds since 1970.
        owned_by: "amulet".
        max_model_len: Most tokens of a prompt and its answer, by vLLM's name.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "amulet"
    max_model_len: int


class ModelList(BaseModel):
    """The models of this server: one."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


def check_model(name: str, state: ServerState) -> None:
    """Refuses a request for another model.

    Raises:
        ApiError: 404.
    """
    served = state.settings.model
    if name != served:
        raise ApiError.not_found(
            f"The model {name!r:.200} does not exist here. This server has one model: {served!r}.",
            code="model_not_found",
            param="model",
        )


@router.get("/", include_in_schema=False)
@router.get("", responses=GUARDED_ERRORS)
def list_models(state: State, _caller: CallerOf) -> ModelList:
    """Lists the served model."""
    return ModelList(data=[_served(state)])


@router.get("/{model:path}", responses=_ERRORS)
def get_model(model: str, state: State, _caller: CallerOf) -> ServedModel:
    """Describes the served model."""
    check_model(model, state)
    return _served(state)


def _served(state: ServerState) -> ServedModel:
    return ServedModel(
        id=state.settings.model,
        created=state.created,
        max_model_len=state.client.context_window,
    )
