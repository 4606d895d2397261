"""From a request to its response, for chats and completions alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import Response

from amulet_integrations.deadline import Deadline
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.serving.server_state import ServerState

from .answer_format import AnswerFormat, R
from .answer_reader import AnswerReader, WholeAnswer
from .event_stream import (
    ClientGoneError,
    EventStream,
    begun,
    events_of,
    interleaved,
    unless_gone,
)
from .request_preparation import Conversations, prepare_answers

_CLIENT_CLOSED_REQUEST = 499  # nginx's status; nobody reads it but logs


async def respond(
    state: ServerState,
    request: Request,
    body: R,
    *,
    user_id: str | None,
    read_conversations: Callable[[], Conversations],
    make_format: Callable[[str], AnswerFormat[R]],
) -> Response:
    """Answers a request, in parts or whole.

    A client that goes away ends the work for it, also while it waits for the first token.

    Args:
        state: The server.
        request: The request.
        body: Its body.
        user_id: The user whose preferences count; None for nobody.
        read_conversations: Converts the messages or prompts of the body.
        make_format: f(the engine's fingerprint) -> what writes the answers.

    Raises:
        AmuletError: The request cannot be answered; or, in parts, not even begun.
    """
    deadline = Deadline(state.settings.timeout)

    async def answer() -> Response:
        prepared = await prepare_answers(
            state, body, read_conversations, user_id=user_id, deadline=deadline
        )
        written = make_format(prepared[0].engine.fingerprint)
        return await (_stream(prepared, written) if body.stream else _whole(prepared, written))

    try:
        return await unless_gone(request, answer())
    except ClientGoneError:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _stream(prepared: Sequence[PreparedAnswer], written: AnswerFormat[R]) -> Response:
    parts = interleaved([AnswerReader(it).parts() for it in prepared])
    return EventStream(await begun(events_of(parts, written.chunks, written.last_chunks)))


async def _whole(prepared: Sequence[PreparedAnswer], written: AnswerFormat[R]) -> Response:
    answers = [WholeAnswer() for _ in prepared]
    async with aclosing(interleaved([AnswerReader(it).parts() for it in prepared])) as parts:
        async for index, part in parts:
            answers[index].add(part)
    content = written.whole(answers).model_dump_json(exclude_unset=True)
    return Response(content, media_type="application/json")
