"""Which user a run of a graph is for, and where that user's profile is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.runnables.config import ensure_config
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import Runtime

from amulet_integrations.errors import PreferenceSelectionError
from amulet_integrations.langchain.agents.store import LangGraphProfileStore
from amulet_integrations.profiles import ProfileStore, current_scope, open_profile_store
from amulet_integrations.profiles.characters import checked_label

UserRule = str | Callable[[Any], str | None]
"""The name of an attribute or key of the runtime context, or a function of the context."""

AnyRuntime = Runtime[Any] | ToolRuntime[Any, Any]


@dataclass(frozen=True)
class RuntimeUsers:
    """Reads users from runtimes; the middleware and its tools share one, and so one rule.

    Attributes:
        user_id: How the runtime context names the user.
        profiles: Where profiles are; None for the graph's own store.

    Raises:
        PreferenceSelectionError: `user_id` is neither a name nor a function.
        ProfileStoreError: `profiles` cannot be opened.
    """

    user_id: UserRule = "user_id"
    profiles: ProfileStore | str | Path | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.user_id, str) and self.user_id) and not callable(self.user_id):
            raise PreferenceSelectionError(
                f"user_id={self.user_id!r}: give the name under which the runtime context holds "
                "the user's id, or a function that takes the context and returns the id."
            )
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
        context = runtime.context
        if context is None:
            user_id = None
        elif callable(self.user_id):
            user_id = self.user_id(context)
        elif isinstance(context, Mapping):
            user_id = context.get(self.user_id)
        else:
            user_id = getattr(context, self.user_id, None)
        return None if user_id is None else checked_label("user_id", user_id)

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
    config = ensure_config(getattr(runtime, "config", None))
    user_id = config.get("configurable", {}).get("user_id")
    return None if user_id is None else checked_label("user_id", user_id)
