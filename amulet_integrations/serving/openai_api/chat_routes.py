"""POST /v1/chat/completions."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, Request, Response

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.server_state import State

from .answers.answer_responses import ANSWER_RESPONSES
from .answers.answer_types import ChatCompletion
from .answers.chat_answer import ChatFormat
from .requests.chat_request import ChatRequest
from .responding import let_ignored_pass, respond

router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(let_ignored_pass)])


@router.post("/chat/completions", response_model=ChatCompletion, responses=ANSWER_RESPONSES)
async def create_chat_completion(
    body: ChatRequest, request: Request, state: State, _caller: CallerOf
) -> Response:
    """Answers a conversation, following the preferences of the user who asks."""
    return await respond(
        state,
        request,
        body,
        read_conversations=lambda: [body.conversation()],
        make_format=partial(ChatFormat, body),
    )
