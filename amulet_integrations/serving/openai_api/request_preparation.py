"""From a request's body to the answers that the engine will decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from amulet_integrations.client import AmuletClient, CallArguments
from amulet_integrations.deadline import Deadline
from amulet_integrations.fair_threads import REQUEST_THREADS
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS
from amulet_integrations.serving.server_state import ServerState

from .generation_options import GenerationOptions

Conversations = Sequence[tuple[ChatMessage, ...] | str]
"""Conversations; a string is a prompt that the client has written whole."""

_SEEDS = 2**63


async def prepare_answers(
    state: ServerState,
    request: GenerationOptions,
    read_conversations: Callable[[], Conversations],
    *,
    user_id: str | None,
    deadline: Deadline,
) -> list[PreparedAnswer]:
    """Looks the user up and writes the prompts, on a thread.

    Args:
        state: The server.
        request: The request.
        read_conversations: Converts its messages or prompts.
        user_id: The user whose preferences count; None for nobody.
        deadline: Until when the request may take.

    Returns:
        For each conversation `request.choices` answers, one after another.

    Raises:
        AmuletError: The request cannot be answered as it is.
    """
    work = partial(_prepare, state, request, read_conversations, user_id, deadline)
    return await REQUEST_THREADS.arun(work, deadline=deadline, user_id=user_id)


def _prepare(
    state: ServerState,
    request: GenerationOptions,
    read_conversations: Callable[[], Conversations],
    user_id: str | None,
    deadline: Deadline,
) -> list[PreparedAnswer]:
    client = state.client
    if user_id is not None:
        checked_label("user", user_id)
    stored = user_id if client.has_profiles else None
    given = {"max_tokens": _default_limit(state), **request.call_arguments(stored)}
    arguments = replace(client.read_call(given, OUTPUT_OPTIONS), deadline=deadline)
    conversations = read_conversations()
    personalization = _personalize(client, arguments, user_id)
    return [
        client.prepare_answer(conversation, _for_choice(arguments, index), personalization)
        for conversation in conversations
        for index in range(request.choices)
    ]


def _personalize(
    client: AmuletClient, arguments: CallArguments, user_id: str | None
) -> Personalization:
    selection = client.resolve_user(arguments.selection)
    personalization = client.personalize(selection, arguments.deadline)
    return replace(personalization, user_id=user_id)


def _for_choice(arguments: CallArguments, index: int) -> CallArguments:
    """The arguments of one of several answers, with a seed of its own."""
    own = arguments.for_one_request()
    if index == 0 or own.sampling.seed is None:
        return own
    seed = (own.sampling.seed + index) % _SEEDS
    return replace(own, sampling=own.sampling.model_copy(update={"seed": seed}))


def _default_limit(state: ServerState) -> int:
    return min(state.settings.default_max_tokens, state.settings.max_tokens)
