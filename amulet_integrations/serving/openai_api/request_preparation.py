"""From a request's body to the answers that the engine will decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.call_options import CallArguments
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS
from amulet_integrations.serving.access.caller import Asker
from amulet_integrations.serving.server_state import ServerState

from .requests.generation_options import GenerationOptions

Conversations = Sequence[tuple[ChatMessage, ...] | str]
"""Conversations; a string is a prompt that the client has written whole."""

_SEEDS = 2**63


async def prepare_answers(
    state: ServerState,
    request: GenerationOptions,
    read_conversations: Callable[[], Conversations],
    *,
    asker: Asker,
    deadline: Deadline,
) -> list[PreparedAnswer]:
    """Looks the user up, reads large schemas and writes the prompts, all of it on a thread.

    Args:
        state: The server.
        request: The request.
        read_conversations: Converts its messages or prompts.
        asker: Who the request is for.
        deadline: Until when the request may take.

    Returns:
        For each conversation `request.choices` answers, one after another.

    Raises:
        AmuletError: The request cannot be answered as it is.
    """
    arguments = _read_arguments(state, request, asker, deadline)
    work = partial(_prepare, state, request, read_conversations, asker, arguments)
    return await REQUEST_THREADS.arun(work, deadline=deadline, user_id=asker.user_id)


def _read_arguments(
    state: ServerState, request: GenerationOptions, asker: Asker, deadline: Deadline
) -> CallArguments:
    """The arguments of the call; on the event loop, so that its schemas are left to a thread."""
    client = state.client
    stored = asker.user_id if client.has_profiles else None
    given = {"max_tokens": _default_limit(state), **request.call_arguments(stored)}
    return replace(client.read_call(given, OUTPUT_OPTIONS), deadline=deadline)


def _prepare(
    state: ServerState,
    request: GenerationOptions,
    read_conversations: Callable[[], Conversations],
    asker: Asker,
    arguments: CallArguments,
) -> list[PreparedAnswer]:
    conversations = read_conversations()
    personalization = _personalize(state, arguments, asker.user_id)
    return [
        state.client.prepare_answer(
            conversation,
            _for_choice(arguments, index),
            personalization,
            cache_salt=asker.cache_salt,
        )
        for conversation in conversations
        for index in range(request.choices)
    ]


def _personalize(
    state: ServerState, arguments: CallArguments, user_id: str | None
) -> Personalization:
    """The preferences that count, as the operator lets them be used."""
    selection = state.client.resolve_user(arguments.selection)
    found = state.client.personalize(selection, arguments)
    allowed = state.profiles.check_preferences(user_id, found.preferences)
    return replace(found, user_id=user_id, preferences=allowed)


def _for_choice(arguments: CallArguments, index: int) -> CallArguments:
    """The arguments of one of several answers, with a seed of its own."""
    own = arguments.for_one_request()
    if index == 0 or own.sampling.seed is None:
        return own
    seed = (own.sampling.seed + index) % _SEEDS
    return replace(own, sampling=own.sampling.model_copy(update={"seed": seed}))


def _default_limit(state: ServerState) -> int:
    return min(state.settings.default_max_tokens, state.settings.max_tokens)
