"""POST /v1/completions."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, Request, Response

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.server_state import State

from .answers.answer_responses import ANSWER_RESPONSES
from .answers.answer_types import Completion
from .answers.completion_answer import CompletionFormat
from .request_preparation import Asker
from .requests.completion_request import CompletionRequest
from .responding import let_ignored_pass, respond
from .served_model import check_model

router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(let_ignored_pass)])


@router.post("/completions", response_model=Completion, responses=ANSWER_RESPONSES)
async def create_completion(
    body: CompletionRequest, request: Request, state: State, caller: CallerOf
) -> Response:
    """Continues prompts that are written whole, following the preferences of the user who asks."""
    asker = Asker.of(request, body, state, caller)
    check_model(body.model, state)
    settings, prompts = state.settings, len(body.prompts)
    body.check_limits(
        max_tokens=settings.max_tokens, max_choices=settings.max_choices, prompts=prompts
    )
    return await respond(
        state,
        request,
        body,
        asker=asker,
        read_conversations=lambda: body.prompts,
        make_format=partial(CompletionFormat, body),
    )
