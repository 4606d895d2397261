"""POST /v1/chat/completions."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.error_responses import ERROR_RESPONSES
from amulet_integrations.serving.server_state import State

from .answer_types import ChatCompletion
from .chat_answer import ChatFormat
from .chat_request import ChatRequest
from .responding import respond
from .served_model import check_model

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/chat/completions", response_model=ChatCompletion, responses=ERROR_RESPONSES)
async def create_chat_completion(
    body: ChatRequest, request: Request, state: State, caller: CallerOf
) -> Response:
    """Answers a conversation, following the preferences of the user who asks."""
    user_id = caller.user_for(body.user)
    check_model(body.model, state)
    settings = state.settings
    body.check_limits(max_tokens=settings.max_tokens, max_choices=settings.max_choices)
    return await respond(
        state,
        request,
        body,
        user_id=user_id,
        read_conversations=lambda: [body.conversation()],
        make_format=partial(ChatFormat, body),
    )
