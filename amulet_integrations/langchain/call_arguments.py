"""Reads the arguments of a call of the chat model, once, when the public method is called."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from amulet_integrations.client import AmuletClient
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.call_options import (
    SELECTION_ARGUMENTS,
    CallArguments,
    without_unset,
)
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import current_scope
from amulet_integrations.profiles.field_types import LONGEST_LABEL
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import (
    OUTPUT_OPTIONS,
    plain_arguments,
)

from .call_config import within_run
from .config_keys import READ_KEYS, find_unread_keys
from .internal_calls import STRUCTURED, InternalCall, internal_call
from .tools import to_openai_tools

CALL = "personalization"
"""The keyword argument that carries a `ChatCall` through LangChain's methods.

Callbacks and tracers are given `Personalization.describe` under this name.
"""

BOUND_SELECTION = "bound_selection"
"""The keyword argument for what was bound to a model before `with_structured_output`.

It is an object of arguments that select preferences. They count as those of a call do, but for the
decisions of agents.
"""

RUN_OPTIONS = ("tags", "metadata", "run_name", "run_id")
"""Arguments of `generate` and `agenerate` for LangChain."""

EVENT_OPTIONS = {
    "diff",
    "with_streamed_output_list",
    *(f"{verb}_{kind}" for verb in ("include", "exclude") for kind in ("names", "types", "tags")),
}
"""Arguments of `astream_log` and `astream_events` that choose the events."""

# Other arguments that a call accepts: OpenAI's, and those that LangChain itself passes.
_OTHER_ARGUMENTS = (
    *OUTPUT_OPTIONS,
    "model",
    "stream",
    "stream_usage",
    *STRUCTURED,
)


@dataclass(frozen=True, repr=False, kw_only=True)
class ChatCall:
    """One call, validated.

    Attributes:
        arguments: What the answer has to be like, and the deadline.
        selection: Whose preferences the call follows.
        model: The name of another model that is to answer; None for the chat model's own.
        stream_usage: Whether the last chunk of a stream counts the tokens.
        source: The messages of LangChain; None where the public method takes several lists.
        messages: What they are converted to.
    """

    arguments: CallArguments
    selection: PreferenceSelection
    model: str | None
    stream_usage: bool
    source: list[BaseMessage] | None = None
    messages: tuple[ChatMessage, ...] = ()

    def with_arguments(self, arguments: CallArguments) -> Self:
        """The same call with other arguments."""
        return replace(self, arguments=arguments)

    def with_personalization(self, personalization: Personalization) -> PersonalizedCall:
        """The same call, with the selected user looked up."""
        return PersonalizedCall(**vars(self), personalization=personalization)


@dataclass(frozen=True, repr=False, kw_only=True)
class PersonalizedCall(ChatCall):
    """A call whose user has been looked up.

    Its `repr` shows a digest of the preferences and no other argument, because LangChain writes
    keyword arguments into the keys of its cache.

    Attributes:
        personalization: The preferences that the call follows.
    """

    personalization: Personalization

    def __repr__(self) -> str:
        return repr(self.personalization)


def read_arguments(
    llm: AmuletClient,
    arguments: Mapping[str, Any],
    config: RunnableConfig | None = None,
    also: Collection[str] = (),
    *,
    stream_usage: bool = True,
) -> dict[str, Any]:
    """Validates the keyword arguments of a call and decides whose preferences it follows.

    Reads no store.

    Args:
        llm: The chat model.
        arguments: The keyword arguments.
        config: The config of the call.
        also: Further names that are allowed.
        stream_usage: Whether streams count the tokens, unless the call says so itself.

    Returns:
        The arguments with tools and formats as plain JSON, and with a `ChatCall` in the place of
        those that select preferences.

    Raises:
        AmuletError: One of the arguments is unknown or not valid.
    """
    config = ensure_config(within_run(config))
    internal = internal_call(config, arguments)
    if internal is InternalCall.DECISION:
        arguments = {name: it for name, it in arguments.items() if name != BOUND_SELECTION}
    plain = _unfolded(json_arguments(arguments))
    read = llm.read_call(plain, (*_OTHER_ARGUMENTS, *also))
    searchable = "user_id" not in config["configurable"] or llm.has_profiles
    own = selection_in(config, searchable=searchable)
    selection = _resolve_user(llm, read.selection, own, internal)
    if internal is None:
        is_said = "user_id" in plain or "user_id" in config["configurable"]
        if not _report_unread(llm, config, read.selection, searchable=searchable) and not is_said:
            llm.report_nobody(selection)
    call = ChatCall(
        arguments=read,
        selection=selection,
        model=plain.get("model"),
        stream_usage=plain.get("stream_usage", stream_usage) is not False,
    )
    others = {name: plain[name] for name in plain if name not in SELECTION_ARGUMENTS}
    return {**others, CALL: call}


def _resolve_user(
    llm: AmuletClient,
    call: PreferenceSelection,
    config: PreferenceSelection,
    internal: InternalCall | None,
) -> PreferenceSelection:
    """Whose preferences a call follows; nobody's, where no user reads the answer.

    There only the call's own arguments count, and for texts what is bound and `for_user`. For
    decisions these do not: a middleware may work with the agent's own model, and preferences decide
    nothing. Where an agent's tools are chosen, nothing counts.
    """
    if internal is None:
        return llm.resolve_user(call, config)
    if internal is InternalCall.TOOLS:
        return PreferenceSelection()
    counts = call.is_set or (llm.pinned and internal is InternalCall.TEXT)
    return (llm if counts else llm.plain()).resolve_user(call)


def check_arguments(llm: AmuletClient, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Validates arguments that are to be bound to a model, and returns them as plain JSON.

    On an event loop, schemas that are not small are left to the call.

    Raises:
        AmuletError: One of them is unknown or not valid.
    """
    plain = json_arguments(arguments)
    read = llm.read_call(_unfolded(plain), _OTHER_ARGUMENTS)
    if not _is_on_event_loop():
        read.output.check_schemas(Deadline())
    return plain


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _unfolded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with those that `BOUND_SELECTION` holds among them; the others count first."""
    others = dict(arguments)
    if isinstance(others.get(BOUND_SELECTION), Mapping):  # anything else is an unknown argument
        others = {**others.pop(BOUND_SELECTION), **others}
    return others


def json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with tools, tool choice and response format as plain JSON.

    Tracers and the keys of caches need them in this form.

    Raises:
        PromptError: One of them cannot be used.
    """
    return plain_arguments(arguments, to_openai_tools)


def selection_of(config: RunnableConfig | None) -> PreferenceSelection:
    """The user, the context and the strength in ``config["configurable"]``.

    Where the call has no config of its own, that of the surrounding chain or graph node counts.

    Args:
        config: The config of the call.

    Raises:
        InvalidProfileError: The user id or the context is not valid.
    """
    return selection_in(ensure_config(config))


def selection_in(
    config: Mapping[str, Any] | None, *, searchable: bool = True
) -> PreferenceSelection:
    """As `selection_of`, of this config alone.

    Args:
        config: The config.
        searchable: Whether there is a store to look users up in. Frameworks put user ids into
            their configs for reasons of their own, so without a store the user id is passed over.
    """
    configurable = (config or {}).get("configurable") or {}
    names = READ_KEYS if searchable else tuple(name for name in READ_KEYS if name != "user_id")
    return PreferenceSelection(
        **without_unset({name: configurable[name] for name in names if name in configurable})
    )


def _report_unread(
    llm: AmuletClient, config: RunnableConfig, call: PreferenceSelection, *, searchable: bool
) -> bool:
    """Reports what has no effect in the config: a user without a store, and misspelt keys.

    Returns:
        Whether there are such keys.
    """
    configurable = config.get("configurable") or {}
    scope = current_scope()
    # Then it does not matter whom the config would name.
    names_user = call.is_set or llm.pinned or (scope is not None and scope.is_set)
    user_id = configurable.get("user_id")
    # Other values are no names of users, so they are meant for somebody else.
    names_one = isinstance(user_id, str | int) and 0 < len(str(user_id).strip()) <= LONGEST_LABEL
    if names_one and not searchable and not names_user:
        llm.report_unknown_user(str(user_id), None)
    unread_keys = [
        unread
        for unread in find_unread_keys(configurable)
        if unread.meant != "user_id" or not names_user
    ]
    for unread in unread_keys:
        llm.report_unread_key(unread.key, unread.describe("configurable"))
    return bool(unread_keys)
