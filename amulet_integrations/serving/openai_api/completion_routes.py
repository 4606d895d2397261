"""POST /v1/completions."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, Request, Response

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.server_state import State

from .answers.answer_responses import ANSWER_RESPONSES
from .answers.answer_types import Completion
from .answers.completion_answer import CompletionFormat
from .requests.completion_request import CompletionRequest
from .responding import let_ignored_pass, respond

router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(let_ignored_pass)])


@router.post("/completions", response_model=Completion, responses=ANSWER_RESPONSES)
async def create_completion(
    body: CompletionRequest, request: Request, state: State, _caller: CallerOf
) -> Response:
    """Continues prompts that are written whole, following the preferences of the user who asks."""
    return await respond(
        state,
        request,
        body,
        read_conversations=lambda: body.prompts,
        make_format=partial(CompletionFormat, body),
    )
