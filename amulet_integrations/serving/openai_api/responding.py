"""From a request to its response, for chats and completions alike."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import Response

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.errors import AmuletError, GenerationError
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.serving.operations.server_metrics import ServerMetrics
from amulet_integrations.serving.server_state import ServerState, State

from .answers.answer_format import AnswerFormat, R
from .answers.answer_reader import AnswerPart, AnswerReader, WholeAnswer
from .event_stream import EventStream, begun, events_of, interleaved
from .request_preparation import Conversations, prepare_answers
from .requests.ignored_parameters import let_pass
from .requests.refused_parameter import refusal_of
from .served_model import check_model

Answers = Sequence[AsyncGenerator[AnswerPart, None]]
"""The parts of each answer to a request, as they come."""


async def let_ignored_pass(state: State) -> None:
    """A dependency of routes: their bodies may hold `ServerSettings.ignored_parameters`.

    FastAPI resolves it before it reads the body, in the same task.
    """
    let_pass(state.settings.ignored_parameters)


async def respond(
    state: ServerState,
    request: Request,
    body: R,
    *,
    read_conversations: Callable[[], Conversations],
    make_format: Callable[[str], AnswerFormat[R]],
) -> Response:
    """Answers a request, in parts or whole.

    Args:
        state: The server.
        request: The request.
        body: Its body.
        read_conversations: Converts the messages or prompts of the body.
        make_format: f(the engine's fingerprint) -> what writes the answers.

    Raises:
        ApiError: The request cannot be answered; or, in parts, not even begun.
    """
    settings = state.settings
    asker = await state.access.asker_of(request, body.user)
    check_model(body.model, state)
    body.check_limits(max_tokens=settings.max_tokens, max_choices=settings.max_choices)
    deadline = Deadline(settings.timeout)
    try:
        prepared = await prepare_answers(
            state, body, read_conversations, asker=asker, deadline=deadline
        )
        written = make_format(prepared[0].engine.fingerprint)
        answers = [_counted(state.metrics, it) for it in prepared]
        if body.stream:
            return await _stream(answers, written)
        return await _whole(answers, written, asker.user_id, deadline)
    except AmuletError as error:
        raise refusal_of(error, body) from None


async def _stream(answers: Answers, written: AnswerFormat[R]) -> Response:
    events = events_of(interleaved(answers), written.chunks, written.last_chunks)
    return EventStream(await begun(events))


async def _whole(
    answers: Answers, written: AnswerFormat[R], user_id: str | None, deadline: Deadline
) -> Response:
    whole = [WholeAnswer() for _ in answers]
    async with aclosing(interleaved(answers)) as parts:
        async for index, part in parts:
            whole[index].add(part)

    def write() -> str:
        return written.whole(whole).model_dump_json(exclude_unset=True)

    # With twenty log-probabilities a token it takes seconds, in which nobody else would be served.
    is_long = any(it.logprobs or it.tokens for it in whole)
    content = (
        await REQUEST_THREADS.arun(write, deadline=deadline, user_id=user_id)
        if is_long
        else write()
    )
    return Response(content, media_type="application/json")


async def _counted(
    metrics: ServerMetrics, prepared: PreparedAnswer
) -> AsyncGenerator[AnswerPart, None]:
    """The parts of one answer, which is counted as it comes.

    Raises:
        GenerationError: The engine stopped before the answer was finished.
    """
    is_finished = False
    with metrics.answer_started(prepared.call.personalization.applied_method) as count:
        async with aclosing(AnswerReader(prepared).parts()) as parts:
            async for part in parts:
                count.first_token()
                if part.end is not None:
                    count.finished(part.end.usage, part.end.finish_reason)
                    is_finished = True
                yield part
        if not is_finished:
            raise GenerationError("The engine stopped before the answer was finished. Try again.")
