"""Which user a run of a graph is for, what it is about, and where that user's profile is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import Runtime

from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.langchain.agents.store import LangGraphProfileStore
from amulet_integrations.langchain.configs import selection_of
from amulet_integrations.profiles import ProfileStore, current_scope, open_profile_store
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.field_types import checked_label

UserRule = str | Callable[[Any], str | None]
"""The name of an attribute or key of the runtime context, or a function of the context."""

ContextRule = str | Callable[[Any], Mapping[str, str] | None]
"""The same, for what a run is about."""

AnyRuntime = Runtime[Any] | ToolRuntime[Any, Any]


@dataclass(frozen=True)
class RuntimeUsers:
    """Reads users from runtimes; the middleware and its tools share one, and so one rule.

    Attributes:
        user_id: How the runtime context names the user.
        profiles: Where profiles are; None for the graph's own store.
        preference_context: How the runtime context says what the run is about.

    Raises:
        PreferenceSelectionError: `user_id` or `preference_context` is neither a name nor a
            function.
        ProfileStoreError: `profiles` cannot be opened.
    """

    user_id: UserRule = "user_id"
    profiles: ProfileStore | str | Path | None = None
    preference_context: ContextRule = "preference_context"

    def __post_init__(self) -> None:
        _check_rule("user_id", self.user_id)
        _check_rule("preference_context", self.preference_context)
        if self.profiles is not None:
            object.__setattr__(self, "profiles", open_profile_store(self.profiles))

    def named(self, runtime: AnyRuntime) -> str | None:
        """The user of a run: the config's, else the runtime context's, else the scope's.

        Raises:
            InvalidProfileError: What stands in the place of the user's id is no user id.
        """
        user_id = config_user(runtime)
        if user_id is None:
            user_id = self.context_user(runtime)
        if user_id is None and (scope := current_scope()):
            user_id = scope.user_id
        return user_id

    def context_user(self, runtime: AnyRuntime) -> str | None:
        """The user that the runtime context names; None where it names nobody.

        Raises:
            InvalidProfileError: What stands in the place of the user's id is no user id.
        """
        user_id = _told(self.user_id, runtime.context)
        return None if user_id is None else checked_label("user_id", user_id)

    def circumstances(self, runtime: AnyRuntime, user_id: str | None) -> PreferenceContext:
        """What a run is about, by its config and then by its runtime context.

        One that names another user than the one who is followed says nothing of this run.

        Args:
            runtime: The run.
            user_id: Who is followed.

        Raises:
            InvalidProfileError: What stands in its place is no mapping of strings to strings.
        """
        told = PreferenceContext()
        config = selection_of(getattr(runtime, "config", None))
        if config.user_id in {None, user_id}:
            told = told.over(config.preference_context)
        if self.context_user(runtime) in {None, user_id}:
            told = told.over(PreferenceContext(_told(self.preference_context, runtime.context)))
        return told

    def store(self, runtime: AnyRuntime) -> ProfileStore | None:
        """Where the profiles of a run are: the store given, else the graph's own."""
        if self.profiles is not None:
            return open_profile_store(self.profiles)
        return None if runtime.store is None else LangGraphProfileStore(runtime.store)


def config_user(runtime: AnyRuntime) -> str | None:
    """The user in ``config["configurable"]["user_id"]``.

    Raises:
        InvalidProfileError: What stands there is no user id.
    """
    # Tools are handed their config; around a model call it is in a context variable.
    return selection_of(getattr(runtime, "config", None)).user_id


def _told(rule: str | Callable[[Any], Any], context: Any) -> Any:
    """What a runtime context says under a rule; None where it says nothing."""
    if context is None:
        return None
    if callable(rule):
        return rule(context)
    return context.get(rule) if isinstance(context, Mapping) else getattr(context, rule, None)


def _check_rule(name: str, rule: object) -> None:
    if not (isinstance(rule, str) and rule) and not callable(rule):
        raise PreferenceSelectionError(
            f"{name}={rule!r}: give the name under which the runtime context holds it, or a "
            "function that takes the context and returns it."
        )
