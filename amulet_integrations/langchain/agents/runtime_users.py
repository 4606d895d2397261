"""The user of a graph's run, what the run is about, and where the user's profile is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from langchain_core.runnables.config import ensure_config
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from amulet_integrations.errors import PreferenceSelectionError, ProfileStoreError
from amulet_integrations.langchain.call_arguments import selection_of
from amulet_integrations.langchain.config_keys import UnreadKey, find_unread_keys
from amulet_integrations.personalization.call_options import without_unset
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import (
    ProfileLimits,
    ProfileStore,
    current_scope,
    open_profile_store,
)

from .langgraph_store import LangGraphProfileStore

UserRule = str | Callable[[Any], str | None]
"""The name of an attribute or key of the runtime context, or a function of the context."""

ContextRule = str | Callable[[Any], Mapping[str, str] | None]
"""The same, for what a run is about."""

AnyRuntime = Runtime[Any] | ToolRuntime[Any, Any]


class RuntimeUsers:
    """Reads users from runtimes; the middleware and its tools share one.

    Args:
        user_id: Where the runtime context contains the user's id.
        profiles: The store of profiles; None for the graph's own store.
        preference_context: Where the runtime context contains what the run is about.
        profile_limits: What profiles must not exceed; by default the store's limits.

    Attributes:
        profile_limits: The limits, if any are given.

    Raises:
        PreferenceSelectionError: `user_id` or `preference_context` is neither a name nor a
            function.
        ProfileStoreError: `profiles` cannot be opened.
    """

    def __init__(
        self,
        user_id: UserRule = "user_id",
        profiles: ProfileStore | str | Path | None = None,
        preference_context: ContextRule = "preference_context",
        profile_limits: ProfileLimits | None = None,
    ) -> None:
        _check_rule("user_id", user_id)
        _check_rule("preference_context", preference_context)
        self._user_id = user_id
        self.profile_limits = profile_limits
        self._profiles = None
        if profiles is not None:
            _check_no_graph_store(profiles)
            self._profiles = open_profile_store(profiles, limits=profile_limits)
        self._preference_context = preference_context

    def config(self, runtime: AnyRuntime) -> PreferenceSelection:
        """What the config of a run selects.

        Raises:
            InvalidProfileError: The user id or the context in it is not valid.
        """
        # Tools are handed their config; around a model call it is in a context variable.
        return selection_of(getattr(runtime, "config", None))

    def context(self, runtime: AnyRuntime) -> PreferenceSelection:
        """What the runtime context of a run selects.

        Raises:
            InvalidProfileError: The user id or the context in it is not valid.
        """
        rules = {"user_id": self._user_id, "preference_context": self._preference_context}
        values = {name: _value(rule, runtime.context) for name, rule in rules.items()}
        return PreferenceSelection(**without_unset(values))

    def unread_keys(self, runtime: AnyRuntime) -> Iterator[UnreadKey]:
        """Names in the runtime context that resemble one that is read and is missing."""
        rules = (self._user_id, self._preference_context)
        names = tuple(rule for rule in rules if isinstance(rule, str))
        return find_unread_keys(_as_mapping(runtime.context), names)

    def user_of(self, runtime: AnyRuntime) -> str | None:
        """The user of a run: the config's, else the runtime context's, else the scope's.

        Raises:
            InvalidProfileError: A user id is not valid.
        """
        if (user_id := self.config(runtime).user_id) is not None:
            return user_id
        if (user_id := _value(self._user_id, runtime.context)) is not None:
            return PreferenceSelection(user_id=user_id).user_id
        scope = current_scope()
        return scope.user_id if scope else None

    def is_guest(self, runtime: AnyRuntime) -> bool:
        """Whether the config or the runtime context says itself that a run has no user."""
        configurable = ensure_config(getattr(runtime, "config", None)).get("configurable") or {}
        if "user_id" in configurable:
            return configurable["user_id"] is None
        if callable(self._user_id):
            return runtime.context is not None and self._user_id(runtime.context) is None
        names = _as_mapping(runtime.context)
        return self._user_id in names and names[self._user_id] is None

    def store(self, runtime: AnyRuntime) -> ProfileStore | None:
        """Where the profiles of a run are: the given store, else the graph's own."""
        if self._profiles is not None or runtime.store is None:
            return self._profiles
        return LangGraphProfileStore(runtime.store, limits=self.profile_limits)


def _value(rule: str | Callable[[Any], Any], context: Any) -> Any:
    """The value that a rule finds in a runtime context; None where there is none."""
    if context is None:
        return None
    if callable(rule):
        return rule(context)
    return context.get(rule) if isinstance(context, Mapping) else getattr(context, rule, None)


def _as_mapping(context: Any) -> Mapping[str, Any]:
    if isinstance(context, Mapping):
        return context
    if is_dataclass(context) and not isinstance(context, type):
        return {field.name: getattr(context, field.name) for field in fields(context)}
    return getattr(context, "__dict__", {})


def _check_no_graph_store(profiles: object) -> None:
    if isinstance(profiles, BaseStore):
        raise ProfileStoreError(
            f"profiles is a LangGraph store ({type(profiles).__name__}), which holds no profiles "
            "by itself. Give LangGraphProfileStore(store). Or give the store to the graph, "
            "create_agent(..., store=store), and leave profiles= out."
        )


def _check_rule(name: str, rule: object) -> None:
    if not (isinstance(rule, str) and rule) and not callable(rule):
        raise PreferenceSelectionError(
            f"{name}={rule!r}: give the name under which the runtime context holds it, or a "
            "function that takes the context and returns it."
        )
